// Sums, places of a maximum, and log-softmax, of the rows of one member. The length of a sum alone decides its order.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

constexpr int64_t TERMS = 256;       // a sum of more is a sum of sums, so that rounding errors grow slowly
constexpr int WAYS = 16, CHAINS = 4;  // partial sums of a row, whatever the width of a vector

template <class T>
struct Lanes {  // WAYS numbers
    typedef T Vector __attribute__((vector_size(WAYS * sizeof(T)), aligned(sizeof(T)), may_alias));
    static Vector load(const T* x) { return *(const Vector*)x; }
    // the first n <= WAYS of them; what lies behind is not touched
    static Vector load(const T* x, int64_t n, T rest) {
        Vector v = Vector{} + rest;
#if defined(__AVX512F__)
        if constexpr (sizeof(T) == 4) return (Vector)_mm512_mask_loadu_ps((__m512)v, (__mmask16)((1u << n) - 1), x);
#endif
        for (int j = 0; j < n; j++) v[j] = x[j];
        return v;
    }
    static void store(T* x, int64_t n, Vector v) {
#if defined(__AVX512F__)
        if constexpr (sizeof(T) == 4) return _mm512_mask_storeu_ps(x, (__mmask16)((1u << n) - 1), (__m512)v);
#endif
        for (int j = 0; j < n; j++) x[j] = v[j];
    }
    // f of the upper and the lower half, until one number is left
    template <class F>
    static T fold(Vector v, F f) {
        v = f(v, __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
        v = f(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
        v = f(v, __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
        v = f(v, __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14));
        return v[0];
    }
};

template <class T>
static T row_sum(const T* x, int64_t n) {
    typedef typename Lanes<T>::Vector Vector;
    const auto sum = [](Vector a, Vector b) { return a + b; };
    if (n <= WAYS) return Lanes<T>::fold(Lanes<T>::load(x, n, 0), sum);
    T total = 0;
    for (int64_t first = 0; first < n; first += CHAINS * WAYS * TERMS) {
        const int64_t last = std::min(n, first + CHAINS * WAYS * TERMS);
        Vector sums[CHAINS] = {};
        int64_t i = first;
        for (; i + CHAINS * WAYS <= last; i += CHAINS * WAYS)
            for (int c = 0; c < CHAINS; c++) sums[c] += Lanes<T>::load(x + i + c * WAYS);
        for (; i + WAYS <= last; i += WAYS) sums[0] += Lanes<T>::load(x + i);
        if (i < last) sums[1] += Lanes<T>::load(x + i, last - i, 0);
        total += Lanes<T>::fold((sums[0] + sums[1]) + (sums[2] + sums[3]), sum);
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
    typedef typename Lanes<T>::Vector Vector;
    const auto larger = [](Vector a, Vector b) -> Vector { return (~(b <= a) & (a == a)) ? b : a; };
    Vector largest = Lanes<T>::load(x, std::min<int64_t>(n, WAYS), x[0]);
    for (int64_t i = WAYS; i < n; i += WAYS)
        largest = larger(largest, i + WAYS <= n ? Lanes<T>::load(x + i) : Lanes<T>::load(x + i, n - i, x[0]));
    return Lanes<T>::fold(largest, larger);
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
                const auto v = Lanes<T>::load(from + r * columns + c, n, 0) - largest;
                Lanes<T>::store(e + r * columns + c, n, v);
                Lanes<T>::store(to + r * columns + c, n, v);
            });
        }
        exponentials(e, count * columns);
        for (int64_t r = 0; r < count; r++) {
            const T level = std::log(row_sum(e + r * columns, columns));
            each_piece(columns, [&](int64_t c, int64_t n) {
                T* at = to + r * columns + c;
                Lanes<T>::store(at, n, Lanes<T>::load(at, n, 0) - level);
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
                Lanes<T>::store(to + c, n, Lanes<T>::load(u + c, n, 0) - Lanes<T>::load(e + r * columns + c, n, 0) * total);
            });
        }
    });
}
