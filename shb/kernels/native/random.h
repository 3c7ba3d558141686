// Random bits of many seeds: as shb/streams.py, which says what they are.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>

constexpr int64_t SEEDS = 256;  // that are drawn for together

// Philox4x32-10 (Salmon et al., SC 2011) of the counters (pair, index, name, 0) under the keys seeds[0 .. n): two words each.
static void philox(const uint64_t* seeds, int64_t n, uint64_t pair, uint64_t index, uint64_t name, uint64_t* __restrict__ first,
                   uint64_t* __restrict__ second) {
    constexpr uint64_t LOW = 0xFFFFFFFF, M0 = 0xD2511F53, M1 = 0xCD9E8D57, W0 = 0x9E3779B9, W1 = 0xBB67AE85;
    for (int64_t i = 0; i < n; i++) {
        uint64_t c0 = pair, c1 = index, c2 = name, c3 = 0, k0 = seeds[i] & LOW, k1 = seeds[i] >> 32;
        for (int round = 0; round < 10; round++) {
            const uint64_t a = M0 * c0, b = M1 * c2;
            c0 = (b >> 32) ^ c1 ^ k0, c1 = b & LOW, c2 = (a >> 32) ^ c3 ^ k1, c3 = a & LOW;
            k0 = (k0 + W0) & LOW, k1 = (k1 + W1) & LOW;
        }
        first[i] = c0 | c1 << 32, second[i] = c2 | c3 << 32;
    }
}

// words of `seeds` [n] -> int64 [count, n], the bits of uint64
static at::Tensor words(const at::Tensor& seeds, int64_t index, int64_t name, int64_t count) {
    TORCH_CHECK(seeds.is_contiguous() && seeds.scalar_type() == at::kLong, "seeds: int64");
    const int64_t n = seeds.numel();
    at::Tensor result = at::empty({count, n}, at::kLong);
    const uint64_t* from = (const uint64_t*)seeds.const_data_ptr();
    uint64_t* to = (uint64_t*)result.data_ptr();
    at::parallel_for(0, n, std::max<int64_t>(SEEDS, 100000 / std::max<int64_t>(1, count)), [&](int64_t begin, int64_t end) {
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
