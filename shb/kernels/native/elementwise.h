// A chain of elementwise operations on tensors of the same shape, block by block, so that what lies between them stays in
// the cache. Every operation is a loop of its own and correctly rounded: the bits are those of the operations one by one.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <cmath>
#include <vector>

#include "tile.h"

enum class Operation : int64_t { add, sub, mul, div, sqrt };
enum class Operand : int64_t { tensor, member, constant, result };  // element of x; one number per member; of all; earlier
constexpr int64_t PIECE = 512;  // elements at a time

// Where the elements of an operand are: `step` 1 for a row of numbers, 0 for one number.
struct Source {
    const float* data;
    bool row;
};

template <class F>
static void each(Source a, Source b, float* out, int64_t n, F f) {
    if (a.row && b.row)
        for (int64_t i = 0; i < n; i++) out[i] = f(a.data[i], b.data[i]);
    else if (a.row)
        for (int64_t i = 0; i < n; i++) out[i] = f(a.data[i], *b.data);
    else
        for (int64_t i = 0; i < n; i++) out[i] = f(*a.data, b.data[b.row ? i : 0]);
}

static void apply(Operation operation, Source a, Source b, float* out, int64_t n) {
    switch (operation) {
        case Operation::add: return each(a, b, out, n, [](float x, float y) { return x + y; });
        case Operation::sub: return each(a, b, out, n, [](float x, float y) { return x - y; });
        case Operation::mul: return each(a, b, out, n, [](float x, float y) { return x * y; });
        case Operation::div: return each(a, b, out, n, [](float x, float y) { return x / y; });
        case Operation::sqrt: return each(a, a, out, n, [](float x, float) { return std::sqrt(x); });
    }
}

// code: of every operation its number, then the kind and the index of both operands; outputs: which results are returned
static std::vector<at::Tensor> elementwise(at::TensorList tensors, at::TensorList members, c10::ArrayRef<double> constants,
                                           at::IntArrayRef code, at::IntArrayRef outputs) {
    std::vector<at::Tensor> x, numbers, y;
    for (const at::Tensor& t : tensors) x.push_back(t.contiguous());
    for (const at::Tensor& t : members) numbers.push_back(t.contiguous());
    for (size_t i = 0; i < outputs.size(); i++) y.push_back(at::empty(x[0].sizes(), x[0].options()));
    const std::vector<float> fixed(constants.begin(), constants.end());
    const int64_t operations = code.size() / 5, width = x[0].size(0), size = x[0].numel() / std::max<int64_t>(1, width);
    std::vector<const float*> x_data, number_data;
    for (const at::Tensor& t : x) x_data.push_back(t.const_data_ptr<float>());
    for (const at::Tensor& t : numbers) number_data.push_back(t.const_data_ptr<float>());
    std::vector<float*> y_data(operations, nullptr);
    for (size_t i = 0; i < outputs.size(); i++) y_data[outputs[i]] = y[i].mutable_data_ptr<float>();
    at::parallel_for(0, width, grain(operations * size), [&](int64_t begin, int64_t end) {
        std::vector<float> memory(operations * PIECE);
        std::vector<const float*> results(operations);
        for (int64_t i = begin; i < end; i++)
            for (int64_t first = 0; first < size; first += PIECE) {
                const int64_t at = i * size + first, n = std::min(PIECE, size - first);
                const auto source = [&](int64_t kind, int64_t index) -> Source {
                    switch ((Operand)kind) {
                        case Operand::tensor: return {x_data[index] + at, true};
                        case Operand::member: return {number_data[index] + i, false};
                        case Operand::constant: return {fixed.data() + index, false};
                        default: return {results[index], true};
                    }
                };
                for (int64_t o = 0; o < operations; o++) {
                    const int64_t* c = code.data() + 5 * o;
                    float* out = y_data[o] ? y_data[o] + at : memory.data() + o * PIECE;
                    apply((Operation)c[0], source(c[1], c[2]), source(c[3], c[4]), out, n);
                    results[o] = out;
                }
            }
    });
    return y;
}
