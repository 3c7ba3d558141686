// Sums, places of a maximum, and log-softmax, of the rows of one member. The length of a sum alone decides its order.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace shb {

constexpr int64_t TERMS = 256;       // a sum of more is a sum of sums, so that rounding errors grow slowly
constexpr int WAYS = 16, CHAINS = 4;  // partial sums of a row, whatever the width of a vector
#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64;
#else
constexpr int VECTOR_BYTES = 32;
#endif

template <class T>
struct Lanes {  // WAYS numbers, in vectors of the processor's size: a compiler takes wider ones apart, number by number
    static constexpr int PART = VECTOR_BYTES / sizeof(T), PARTS = WAYS / PART;
    typedef T Part __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(T)), may_alias));
    struct Vector {
        Part part[PARTS];
    };
    // f of the parts of vectors, one by one
    template <class F, class... V>
    static Vector map(F f, const V&... v) {
        Vector result;
#pragma GCC unroll 4
        for (int p = 0; p < PARTS; p++) result.part[p] = f(v.part[p]...);
        return result;
    }
    static Vector all(T x) {
        return map([x](Part zero) { return zero + x; }, Vector{});
    }
    static Vector load(const T* x) {
        Vector v;
#pragma GCC unroll 4
        for (int p = 0; p < PARTS; p++) v.part[p] = *(const Part*)(x + p * PART);
        return v;
    }
    // the first n <= WAYS of them; what lies behind is not touched
    static Vector load(const T* x, int64_t n, T rest) {
        if (n == WAYS) return load(x);
        Vector v = all(rest);
#if defined(__AVX512F__)
        if constexpr (sizeof(T) == 4) {
            v.part[0] = (Part)_mm512_mask_loadu_ps((__m512)v.part[0], (__mmask16)((1u << n) - 1), x);
            return v;
        }
#elif defined(__AVX2__)
        if constexpr (sizeof(T) == 4) {
            for (int p = 0; p < PARTS; p++) {
                const auto some = first(n - p * PART);
                v.part[p] = some ? (Part)_mm256_maskload_ps(x + p * PART, (__m256i)some) : v.part[p];
            }
            return v;
        }
#endif
        for (int j = 0; j < n; j++) v.part[j / PART][j % PART] = x[j];
        return v;
    }
    static void store(T* x, int64_t n, const Vector& v) {
#if defined(__AVX512F__)
        if constexpr (sizeof(T) == 4) return _mm512_mask_storeu_ps(x, (__mmask16)((1u << n) - 1), (__m512)v.part[0]);
#elif defined(__AVX2__)
        if constexpr (sizeof(T) == 4) {
            for (int p = 0; p < PARTS; p++) _mm256_maskstore_ps(x + p * PART, (__m256i)first(n - p * PART), (__m256)v.part[p]);
            return;
        }
#endif
        for (int j = 0; j < n; j++) x[j] = v.part[j / PART][j % PART];
    }
    // -1 in the first n of 8 places, else 0
    static auto first(int64_t n) {
        typedef int32_t Places __attribute__((vector_size(32)));
        return Places{0, 1, 2, 3, 4, 5, 6, 7} < (int32_t)n;
    }
    // f of the upper and the lower half, until one number is left
    template <class F>
    static T fold(Vector v, F f) {
#pragma GCC unroll 4
        for (int half = PARTS / 2; half > 0; half /= 2)
            for (int p = 0; p < half; p++) v.part[p] = f(v.part[p], v.part[p + half]);
        return fold<PART / 2>(v.part[0], f, std::make_integer_sequence<int, PART>());
    }
    template <int HALF, class F, int... J>
    static T fold(Part v, F f, std::integer_sequence<int, J...> places) {
        if constexpr (HALF == 0) return v[0];
        else return fold<HALF / 2>(f(v, __builtin_shufflevector(v, v, (J + HALF) % PART...)), f, places);
    }
};

template <class T>
static T row_sum(const T* x, int64_t n) {
    typedef Lanes<T> L;
    typedef typename L::Vector Vector;
    const auto sum = [](auto a, auto b) { return a + b; };
    if (n <= WAYS) return L::fold(L::load(x, n, 0), sum);
    T total = 0;
    for (int64_t first = 0; first < n; first += CHAINS * WAYS * TERMS) {
        const int64_t last = std::min(n, first + CHAINS * WAYS * TERMS);
        Vector sums[CHAINS] = {};
        int64_t i = first;
        for (; i + CHAINS * WAYS <= last; i += CHAINS * WAYS)
#pragma GCC unroll 4
            for (int c = 0; c < CHAINS; c++) sums[c] = L::map(sum, sums[c], L::load(x + i + c * WAYS));
        for (; i + WAYS <= last; i += WAYS) sums[0] = L::map(sum, sums[0], L::load(x + i));
        if (i < last) sums[1] = L::map(sum, sums[1], L::load(x + i, last - i, 0));
        total += L::fold(L::map(sum, L::map(sum, sums[0], sums[1]), L::map(sum, sums[2], sums[3])), sum);
    }
    return total;
}

// f(first, n) for the pieces of a row, of n <= WAYS numbers
template <class F>
static inline void each_piece(int64_t columns, F f) {
    for (int64_t c = 0; c < columns; c += WAYS) f(c, std::min<int64_t>(WAYS, columns - c));
}

// the largest number of a row, or not-a-number if one is
template <class T>
static T row_maximum(const T* x, int64_t n) {
    typedef Lanes<T> L;
    typedef typename L::Part Part;
    const auto larger = [](Part a, Part b) -> Part { return (~(b <= a) & (a == a)) ? b : a; };
    auto largest = L::load(x, std::min<int64_t>(n, WAYS), x[0]);
    for (int64_t i = WAYS; i < n; i += WAYS) largest = L::map(larger, largest, L::load(x + i, std::min<int64_t>(n - i, WAYS), x[0]));
    return L::fold(largest, larger);
}

// out [outer, inner] = the sums of x [outer, terms, inner], divided by `divisor`
template <class T>
static void sums(const T* x, int64_t outer, int64_t terms, int64_t inner, T divisor, T* out) {
    if (inner == 1) {
        for (int64_t o = 0; o < outer; o++) out[o] = row_sum(x + o * terms, terms) / divisor;
        return;
    }
    constexpr int64_t PIECE = 64;  // columns at a time
    for (int64_t o = 0; o < outer; o++)
        for (int64_t column = 0; column < inner; column += PIECE) {
            const int64_t n = std::min(PIECE, inner - column);
            const T* from = x + o * terms * inner + column;
            T total[PIECE] = {};
            for (int64_t first = 0; first < terms; first += TERMS) {
                T part[PIECE] = {};
                const int64_t last = std::min(terms, first + TERMS);
                if (n == PIECE)
                    for (int64_t t = first; t < last; t++)
                        for (int64_t j = 0; j < PIECE; j++) part[j] += from[t * inner + j];
                else
                    for (int64_t t = first; t < last; t++)
                        for (int64_t j = 0; j < n; j++) part[j] += from[t * inner + j];
                for (int64_t j = 0; j < n; j++) total[j] += part[j];
            }
            for (int64_t j = 0; j < n; j++) out[o * inner + column + j] = total[j] / divisor;
        }
}

// the first place of the largest of each row; not-a-number is the largest
template <class T>
static void argmax(const T* x, int64_t rows, int64_t columns, int64_t* out) {
    for (int64_t r = 0; r < rows; r++, x += columns) {
        int64_t best = 0;
        for (int64_t c = 1; c < columns; c++)
            if (!(x[c] <= x[best]) && x[best] == x[best]) best = c;
        out[r] = best;
    }
}

// exp(x) of x <= 0 to within 2 units in the last place, 0 below the normal numbers
static inline float exponential(float x) {
    const float n = std::nearbyint(x * 1.44269504f);
    float r = std::fma(n, -0.693145751953125f, x);
    r = std::fma(n, -1.42860677e-6f, r);
    float p = 1.9875691500e-4f;  // Cephes, expf
    p = std::fma(p, r, 1.3981999507e-3f);
    p = std::fma(p, r, 8.3334519073e-3f);
    p = std::fma(p, r, 4.1665795894e-2f);
    p = std::fma(p, r, 1.6666665459e-1f);
    p = std::fma(p, r, 5.0000001201e-1f);
    p = std::fma(p, r * r, r) + 1.0f;
    const float bounded = n < -126.0f ? -126.0f : n;
    const int32_t bits = ((int32_t)(bounded == bounded ? bounded : 0.0f) + 127) << 23;
    float scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return x < -87.0f ? 0.0f : p * scale;
}
static inline double exponential(double x) { return std::exp(x); }

// x[i] = exp(x[i]) of n numbers, in whole vectors: memory for WAYS more must follow
template <class T>
static void exponentials(T* x, int64_t n) {
    for (int64_t i = 0; i < n; i += WAYS)
        for (int j = 0; j < WAYS; j++) x[i + j] = exponential(x[i + j]);
}

// Calls use(row, rows, memory) for pieces of rows that fit `memory`, and for single rows longer than that.
template <class T, class Use>
static void in_pieces(int64_t rows, int64_t columns, Use use) {
    constexpr int64_t PIECE = 1024;
    T memory[PIECE + WAYS] = {};
    std::unique_ptr<T[]> longer;
    if (columns > PIECE) longer.reset(new T[columns + WAYS]());
    const int64_t step = std::max<int64_t>(1, PIECE / columns);
    for (int64_t row = 0; row < rows; row += step) use(row, std::min(step, rows - row), longer ? longer.get() : memory);
}

template <class T>
static void log_softmax(const T* x, int64_t rows, int64_t columns, T* out) {
    in_pieces<T>(rows, columns, [&](int64_t first, int64_t count, T* e) {
        const T* from = x + first * columns;
        T* to = out + first * columns;
        for (int64_t r = 0; r < count; r++) {
            const T largest = row_maximum(from + r * columns, columns);
            each_piece(columns, [&](int64_t c, int64_t n) {
                const auto v = Lanes<T>::map([largest](auto x) { return x - largest; }, Lanes<T>::load(from + r * columns + c, n, 0));
                Lanes<T>::store(e + r * columns + c, n, v);
                Lanes<T>::store(to + r * columns + c, n, v);
            });
        }
        exponentials(e, count * columns);
        for (int64_t r = 0; r < count; r++) {
            const T level = std::log(row_sum(e + r * columns, columns));
            each_piece(columns, [&](int64_t c, int64_t n) {
                T* at = to + r * columns + c;
                Lanes<T>::store(at, n, Lanes<T>::map([level](auto x) { return x - level; }, Lanes<T>::load(at, n, 0)));
            });
        }
    });
}

// y: the log-softmax
template <class T>
static void log_softmax_backward(const T* upstream, const T* y, int64_t rows, int64_t columns, T* out) {
    in_pieces<T>(rows, columns, [&](int64_t first, int64_t count, T* e) {
        std::memcpy(e, y + first * columns, count * columns * sizeof(T));
        exponentials(e, count * columns);
        for (int64_t r = 0; r < count; r++) {
            const T* u = upstream + (first + r) * columns;
            T* to = out + (first + r) * columns;
            const T total = row_sum(u, columns);
            each_piece(columns, [&](int64_t c, int64_t n) {
                const auto v = Lanes<T>::load(u + c, n, 0), p = Lanes<T>::load(e + r * columns + c, n, 0);
                Lanes<T>::store(to + c, n, Lanes<T>::map([total](auto u, auto p) { return u - p * total; }, v, p));
            });
        }
    });
}

}  // namespace shb
