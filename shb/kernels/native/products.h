// Products of the matrices of all members.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "tile.h"

namespace shb {

// c [m, n] = a b (+ bias [n]) of one member; row i of a begins at a + i * row, and its k-th element is offset[k] further
static void product(const float* a, int64_t row, const int32_t* offset, const Packed& b, const float* bias, float* c, int64_t m,
                    int64_t n, int64_t k) {
    for (int64_t column = 0; column < n; column += PANEL)
        sweep({a, 0, row, offset, k, b.at(column), b.stride(column), c + column, 0, n, (int)std::min<int64_t>(PANEL, n - column),
               bias ? Start::bias : Start::zero, bias ? bias + column : nullptr},
              1, m);
}

// c [members, m, n] = a [members, m, k] b [members, k, n], of any strides
static at::Tensor bmm(const at::Tensor& a, const at::Tensor& b) {
    const int64_t members = a.size(0), m = a.size(1), k = a.size(2), n = b.size(2);
    at::Tensor c = at::empty({members, m, n}, a.options());
    const float *a_data = a.const_data_ptr<float>(), *b_data = b.const_data_ptr<float>();
    float* c_data = c.mutable_data_ptr<float>();
    const int64_t a_member = a.stride(0), a_row = a.stride(1), b_member = b.stride(0), b_row = b.stride(1), b_column = b.stride(2);
    std::unique_ptr<int32_t[]> offset(new int32_t[k]);
    for (int64_t i = 0; i < k; i++) offset[i] = (int32_t)(i * a.stride(2));
    const int64_t parts = parts_of(members, m);
    at::parallel_for(0, members * parts, grain(2 * m * n * k / parts), [&](int64_t begin, int64_t end) {
        std::unique_ptr<float[]> memory;
        for (int64_t task = begin; task < end; task++) {
            const int64_t i = task / parts, first = m * (task % parts) / parts, last = m * (task % parts + 1) / parts;
            const Packed matrix(b_data + i * b_member, k, n, b_row, b_column, memory);
            product(a_data + i * a_member + first * a_row, a_row, offset.get(), matrix, nullptr, c_data + (i * m + first) * n,
                    last - first, n, k);
        }
    });
    return c;
}

}  // namespace shb
