// Random bits of many seeds: as shb/streams.py, which says what they are.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace shb {

constexpr int64_t SEEDS = 256;  // that are drawn for together

#ifdef __AVX512F__
constexpr int64_t LANES_OF_WORDS = 8;
#else
constexpr int64_t LANES_OF_WORDS = 4;
#endif
typedef uint64_t Words __attribute__((vector_size(8 * LANES_OF_WORDS)));

// Products of the lower halves: compilers would multiply whole words
static inline Words product(Words a, uint64_t b) {
#if defined(__AVX512F__)
    return (Words)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64(b));
#elif defined(__AVX2__)
    return (Words)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(b));
#else
    return (a & 0xFFFFFFFF) * b;
#endif
}

// Philox4x32-10 (Salmon et al., SC 2011) of the counters (pair, index, name, 0) under the keys seeds[0 .. n): two words each.
static void philox(const uint64_t* seeds, int64_t n, uint64_t pair, uint64_t index, uint64_t name, uint64_t* first, uint64_t* second) {
    constexpr uint64_t LOW = 0xFFFFFFFF, M0 = 0xD2511F53, M1 = 0xCD9E8D57, W0 = 0x9E3779B9, W1 = 0xBB67AE85;
    for (int64_t i = 0; i < n; i += LANES_OF_WORDS) {
        const int64_t left = n - i;
        Words seed = {};
        if (left >= LANES_OF_WORDS) memcpy(&seed, seeds + i, sizeof seed);
        else memcpy(&seed, seeds + i, 8 * left);
        Words c0 = seed * 0 + pair, c1 = seed * 0 + index, c2 = seed * 0 + name, c3 = {}, k0 = seed, k1 = seed >> 32;
        for (int round = 0; round < 10; round++) {  // upper halves are not looked at
            const Words a = product(c0, M0), b = product(c2, M1);
            c0 = (b >> 32) ^ c1 ^ k0, c1 = b, c2 = (a >> 32) ^ c3 ^ k1, c3 = a;
            k0 += W0, k1 += W1;
        }
        const Words one = (c0 & LOW) | c1 << 32, two = (c2 & LOW) | c3 << 32;
        if (left >= LANES_OF_WORDS) memcpy(first + i, &one, sizeof one), memcpy(second + i, &two, sizeof two);
        else memcpy(first + i, &one, 8 * left), memcpy(second + i, &two, 8 * left);
    }
}

// words of `seeds` [n] -> int64 [count, n], the bits of uint64
static at::Tensor words(const at::Tensor& seeds, int64_t index, int64_t name, int64_t count) {
    TORCH_CHECK(seeds.is_contiguous() && seeds.scalar_type() == at::kLong, "seeds: int64");
    const int64_t n = seeds.numel();
    at::Tensor result = at::empty({count, n}, at::kLong);
    const uint64_t* from = (const uint64_t*)seeds.const_data_ptr();
    uint64_t* to = (uint64_t*)result.data_ptr();
    at::parallel_for(0, n, std::max<int64_t>(SEEDS, 4096 / std::max<int64_t>(1, count)), [&](int64_t begin, int64_t end) {
        uint64_t last[SEEDS];  // the second word of a pair that is not asked for
        for (int64_t i = begin; i < end; i += SEEDS)
            for (int64_t word = 0; word < count; word += 2)
                philox(from + i, std::min(SEEDS, end - i), word / 2, index, name, to + word * n + i, word + 1 < count ? to + (word + 1) * n + i : last);
    });
    return result;
}

// Bits first .. last - 1 of the words [n] of one block as +1 or -1 -> out, int8 [last - first, n] with the row length `stride`
static void signs(const uint64_t* words, int64_t n, int64_t first, int64_t last, int8_t* out, int64_t stride) {
    for (int64_t bit = first; bit < last; bit++) {
        int8_t* __restrict__ row = out + (bit - first) * stride;
        for (int64_t i = 0; i < n; i++) row[i] = (int8_t)(2 * ((words[i] >> bit) & 1)) - 1;
    }
}

// int8 [stop - start, n]: for step k bit k % 64 of the word of `seeds` [n] in the block k / 64
static at::Tensor signs_of(const at::Tensor& seeds, int64_t name, int64_t start, int64_t stop) {
    TORCH_CHECK(seeds.is_contiguous() && seeds.scalar_type() == at::kLong, "seeds: int64");
    const int64_t n = seeds.numel();
    at::Tensor result = at::empty({stop - start, n}, at::kChar);
    const uint64_t* from = (const uint64_t*)seeds.const_data_ptr();
    int8_t* to = (int8_t*)result.data_ptr();
    at::parallel_for(0, n, SEEDS, [&](int64_t begin, int64_t end) {
        uint64_t drawn[SEEDS], last[SEEDS];
        for (int64_t i = begin; i < end; i += SEEDS) {
            const int64_t count = std::min(SEEDS, end - i);
            for (int64_t block = start / 64; block * 64 < stop; block++) {
                philox(from + i, count, 0, block, name, drawn, last);
                const int64_t first = std::max(start - block * 64, (int64_t)0), bits = std::min(stop - block * 64, (int64_t)64);
                signs(drawn, count, first, bits, to + (block * 64 + first - start) * n + i, n);
            }
        }
    });
    return result;
}

}  // namespace shb
