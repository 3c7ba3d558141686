// One register tile, of which products and convolutions are made.
//
// Every output element is a sum over k in ascending order, of fused multiply-adds from 0. The order depends on the shapes
// of one member alone: not on the number of members or threads, nor on the width of a vector.
#pragma once

#if !defined(__FMA__) && !defined(__ARM_FEATURE_FMA) && !defined(__FP_FAST_FMAF)  // x86, ARM, any other (GCC)
#error "this processor has no fused multiply-add, of which every sum of products is made: members would have other bits"
#endif

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

namespace shb {

#if defined(__AVX512F__)
constexpr int LANES = 16, TALLEST = 14;  // 28 of 32 registers accumulate
#else
constexpr int LANES = 8, TALLEST = 6;  // 12 of 16
#endif
constexpr int PANEL = 2 * LANES;  // columns of the widest tile
constexpr int64_t CONFLICT = 128, CACHE = 8192;  // floats: more rows than fit, a multiple so far apart, drive each other out

typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t Places __attribute__((vector_size(4 * LANES)));
typedef uint8_t Bytes __attribute__((vector_size(LANES), aligned(1), may_alias));

// c[g, t, :columns] = start + sum_k a[g * group + t * step + offset[k]] * b[k * row + (0 .. VECTORS * LANES)]
enum class Start { zero, c, bias };
struct Tile {
    const float* a;
    int64_t group, step;
    const int32_t* offset;
    int64_t depth;
    const float* b;
    int64_t row;
    float* c;
    int64_t c_group, c_step;
    int columns;
    Start start;
    const float* bias;
};

// f(g, t, v) of every vector of a tile, unrolled
template <int GROUPS, int HEIGHT, int VECTORS, class F>
static inline __attribute__((always_inline)) void each(F f) {
#pragma GCC unroll 14
    for (int g = 0; g < GROUPS; g++)
#pragma GCC unroll 14
        for (int t = 0; t < HEIGHT; t++)
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) f(g, t, v);
}

template <int GROUPS, int HEIGHT, int VECTORS>
static void run(const Tile& tile) {
    Vector sum[GROUPS][HEIGHT][VECTORS] = {};  // registers, because no index of them is a variable
    const float* b = tile.b;
    const int64_t group = tile.group, step = tile.step, row = tile.row;
    for (int64_t k = 0; k < tile.depth; k++, b += row) {
        const float* a = tile.a + tile.offset[k];
        Vector columns[VECTORS];
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) columns[v] = *(const Vector*)(b + v * LANES);
        each<GROUPS, HEIGHT, VECTORS>([&](int g, int t, int v) { sum[g][t][v] += a[g * group + t * step] * columns[v]; });
    }
    const bool from_c = tile.start == Start::c;
    const float* start = from_c ? tile.c : tile.bias;
    const int64_t start_group = from_c ? tile.c_group : 0, start_step = from_c ? tile.c_step : 0;
    if (tile.columns < VECTORS * LANES) {
        Vector values[GROUPS][HEIGHT][VECTORS];
        each<GROUPS, HEIGHT, VECTORS>([&](int g, int t, int v) { values[g][t][v] = sum[g][t][v]; });
        for (int g = 0; g < GROUPS; g++)
            for (int t = 0; t < HEIGHT; t++)
                for (int n = 0; n < tile.columns; n++) {
                    const float value = ((const float*)values[g][t])[n];
                    tile.c[g * tile.c_group + t * tile.c_step + n] =
                        tile.start == Start::zero ? value : start[g * start_group + t * start_step + n] + value;
                }
        return;
    }
    if (tile.start != Start::zero)
        each<GROUPS, HEIGHT, VECTORS>([&](int g, int t, int v) {
            sum[g][t][v] = *(const Vector*)(start + g * start_group + t * start_step + v * LANES) + sum[g][t][v];
        });
    each<GROUPS, HEIGHT, VECTORS>([&](int g, int t, int v) {
        *(Vector*)(tile.c + g * tile.c_group + t * tile.c_step + v * LANES) = sum[g][t][v];
    });
}

using Kernel = void (*)(const Tile&);
template <int GROUPS, int... HEIGHTS>
static Kernel pick(std::integer_sequence<int, HEIGHTS...>, int height, int vectors) {
    static const Kernel kernels[][2] = {{run<GROUPS, HEIGHTS + 1, 1>, run<GROUPS, HEIGHTS + 1, 2>}...};
    return kernels[height - 1][vectors - 1];
}

static Kernel kernel(int groups, int height, int vectors) {
    if (groups == 1) return pick<1>(std::make_integer_sequence<int, TALLEST>(), height, vectors);
    if (groups == 2) return pick<2>(std::make_integer_sequence<int, TALLEST / 2>(), height, vectors);
    return pick<3>(std::make_integer_sequence<int, TALLEST / 3>(), height, vectors);
}

// All `groups` x `count` rows of a tile's kind in pieces of equal height, for one panel of columns.
static void sweep(Tile tile, int groups, int64_t count) {
    const int vectors = tile.columns > LANES ? 2 : 1;
    const int64_t tallest = TALLEST / groups, pieces = (count + tallest - 1) / tallest;
    for (int64_t i = 0, done = 0; i < pieces; i++) {
        const int64_t height = count / pieces + (i < count % pieces);
        Tile piece = tile;
        piece.a += done * tile.step;
        piece.c += done * tile.c_step;
        kernel(groups, (int)height, vectors)(piece);
        done += height;
    }
}

static int64_t padded(int64_t columns) { return (columns + LANES - 1) / LANES * LANES; }

// Exchanges the blocks of FAR x FAR elements beside the diagonal of each block of twice that size.
template <int FAR, int... J>
static inline void exchange(Vector (&v)[LANES], std::integer_sequence<int, J...>) {
#pragma GCC unroll 16
    for (int n = 0; n < LANES; n++)
        if (!(n & FAR)) {
            const Vector first = v[n], second = v[n + FAR];
            v[n] = __builtin_shufflevector(first, second, (J & FAR ? LANES + J - FAR : J)...);
            v[n + FAR] = __builtin_shufflevector(first, second, (J & FAR ? LANES + J : J + FAR)...);
        }
}

// LANES x LANES elements, b[k + n * by_column] of the first `some` n to copy[k * row + n], the others zero.
static inline void transpose(const float* b, int64_t by_column, int64_t some, float* copy, int64_t row) {
    constexpr std::make_integer_sequence<int, LANES> columns;
    Vector v[LANES];
#pragma GCC unroll 16
    for (int n = 0; n < LANES; n++) v[n] = n < some ? *(const Vector*)(b + n * by_column) : Vector{};
    if constexpr (LANES > 8) exchange<8>(v, columns);
    exchange<4>(v, columns), exchange<2>(v, columns), exchange<1>(v, columns);
#pragma GCC unroll 16
    for (int k = 0; k < LANES; k++) *(Vector*)(copy + k * row) = v[k];
}

// A copy [rows, row] of b [rows, columns], of any strides, filled up with zeros.
static void pack(const float* b, int64_t rows, int64_t columns, int64_t by_row, int64_t by_column, float* copy, int64_t row) {
    for (int64_t n = 0; n < row; n += LANES) {
        int64_t k = 0;
        if (by_column == 1 && n + LANES <= columns)
            for (; k < rows; k++) *(Vector*)(copy + k * row + n) = *(const Vector*)(b + k * by_row + n);
        if (by_row == 1)
            for (; k + LANES <= rows; k += LANES) transpose(b + n * by_column + k, by_column, columns - n, copy + k * row + n, row);
        for (; k < rows; k++)
            for (int64_t j = n; j < n + LANES; j++) copy[k * row + j] = j < columns ? b[k * by_row + j * by_column] : 0.0f;
    }
}

// A matrix [rows, columns] as tiles read it, panel by panel: where it lies, or a copy, one panel after the other.
struct Packed {
    const float* data;  // of the first `whole` columns, which are read where they lie
    int64_t row, whole;
    const float* copy = nullptr;  // of the other ones
    int64_t rows = 0, width = 0;
    Packed(const float* data, int64_t row) : data(data), row(row), whole(row) {}
    Packed(const float* b, int64_t rows, int64_t columns, int64_t by_row, int64_t by_column, std::unique_ptr<float[]>& memory)
        : data(b), row(by_row), rows(rows), width(padded(columns)) {
        const bool stays = by_column == 1 && (by_row % CONFLICT != 0 || by_row * rows < CACHE);
        whole = !stays ? 0 : columns % LANES == 0 ? columns : columns / PANEL * PANEL;
        if (whole < columns && !memory) memory.reset(new float[rows * width]);
        copy = memory.get();
        for (int64_t n = whole; n < columns; n += PANEL)
            pack(b + n * by_column, rows, std::min<int64_t>(PANEL, columns - n), by_row, by_column, memory.get() + (n - whole) * rows,
                 stride(n));
    }
    const float* at(int64_t column) const { return column < whole ? data + column : copy + (column - whole) * rows; }
    int64_t stride(int64_t column) const { return column < whole ? row : std::min<int64_t>(PANEL, width - column); }
};

// Pieces of a member's work, so that every thread has some; results do not depend on it.
static int64_t parts_of(int64_t members, int64_t pieces) {
    const int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads();
    return members >= threads ? 1 : std::max<int64_t>(1, std::min(pieces, 4 * threads));
}

// Tasks that are worth a thread, each of so many floating-point operations.
static int64_t grain(int64_t flops) { return std::max<int64_t>(1, 100000 / std::max<int64_t>(1, flops)); }

}  // namespace shb
