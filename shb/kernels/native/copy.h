// Contiguous copies. torch copies element by element where neither side's order is the other's; these move squares.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <vector>

#include "tile.h"

namespace shb {

// x as [count, rows, columns] whose elements lie in columns, `by_column` apart, if its dimensions are that
struct Transposed {
    int64_t count = 0, rows = 0, columns = 0, by_count = 0, by_column = 0;
    explicit Transposed(const at::Tensor& x) {
        std::vector<int64_t> sizes, strides;  // dimensions that lie one after the other are one
        for (int64_t d = 0; d < x.dim(); d++) {
            if (x.size(d) == 1) continue;
            if (!sizes.empty() && strides.back() == x.stride(d) * x.size(d))
                sizes.back() *= x.size(d), strides.back() = x.stride(d);
            else
                sizes.push_back(x.size(d)), strides.push_back(x.stride(d));
        }
        const size_t n = sizes.size();
        if (n < 2 || n > 3 || strides[n - 2] != 1) return;
        count = n == 3 ? sizes[0] : 1, by_count = n == 3 ? strides[0] : 0;
        rows = sizes[n - 2], columns = sizes[n - 1], by_column = strides[n - 1];
    }
};

static at::Tensor contiguous(const at::Tensor& x) {
    const Transposed t(x);
    at::Tensor y = at::empty(x.sizes(), x.options());
    if (t.count == 0) return y.copy_(x);
    const float* from = x.const_data_ptr<float>();
    float* to = y.mutable_data_ptr<float>();
    at::parallel_for(0, t.count, grain(8 * t.rows * t.columns), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; i++) {
            const float* in = from + i * t.by_count;
            float* out = to + i * t.rows * t.columns;
            int64_t row = 0;
            for (; row + LANES <= t.rows; row += LANES) {
                int64_t column = 0;
                for (; column + LANES <= t.columns; column += LANES)
                    transpose(in + column * t.by_column + row, t.by_column, LANES, out + row * t.columns + column, t.columns);
                for (; column < t.columns; column++)
                    for (int64_t r = row; r < row + LANES; r++) out[r * t.columns + column] = in[column * t.by_column + r];
            }
            for (int64_t column = 0; column < t.columns; column++)
                for (int64_t r = row; r < t.rows; r++) out[r * t.columns + column] = in[column * t.by_column + r];
        }
    });
    return y;
}

}  // namespace shb
