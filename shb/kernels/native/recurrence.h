// Runs the loop that recurrence.py has compiled, shared among threads.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>

#include <atomic>
#include <vector>

#include "context.h"

namespace shb {

using Recurrence = int64_t (*)(const char* const* in, const int64_t* stride, char* const* out, int64_t members, int64_t steps);

// carried [members, 1 number] each; varying [steps, members] each, or [steps], or [1, members] where the loop knows more of
// it (bits of at most 64 steps), the last as long as there are steps -> carried after all steps, and a flag.
// expected: for every input its Dtype and its Kind
static std::vector<at::Tensor> recurrence(int64_t address, at::IntArrayRef expected, at::TensorList carried, at::TensorList varying) {
    TORCH_CHECK(!carried.empty() && !varying.empty(), "nothing to advance");
    TORCH_CHECK(expected.size() == 2 * (carried.size() + varying.size()), "a recurrence of ", expected.size() / 2, " inputs was given ",
                carried.size() + varying.size());
    size_t input = 0;
    const auto checked = [&](const at::Tensor& x) {
        TORCH_CHECK(x.device().is_cpu(), "input ", input, " of a recurrence is on ", x.device(), ", not on a CPU");
        TORCH_CHECK(x.scalar_type() == scalar_type(expected[2 * input]), "input ", input, " of a recurrence is ", x.scalar_type(), ", not ",
                    scalar_type(expected[2 * input]));
        return expected[2 * input++ + 1];
    };
    const int64_t members = carried.front().size(0), steps = varying.back().size(0);
    std::vector<at::Tensor> results;
    std::vector<const char*> in;
    std::vector<int64_t> stride, element;  // bytes from step to step, and from member to member
    std::vector<char*> out;
    for (const at::Tensor& x : carried) {
        checked(x);
        TORCH_CHECK(x.is_contiguous() && x.numel() == members, "carried: ", x.sizes(), " for ", members, " members");
        results.push_back(at::empty_like(x));
        in.push_back((const char*)x.const_data_ptr()), stride.push_back(0), element.push_back(x.element_size());
        out.push_back((char*)results.back().data_ptr());
    }
    for (const at::Tensor& x : varying) {
        const int64_t kind = checked(x);
        const bool common = kind == COMMON, fixed = kind == BITS;
        TORCH_CHECK(x.dim() == (common ? 1 : 2), "varying: ", x.sizes(), " where ", common ? "[steps]" : "[steps, members]", " belongs");
        TORCH_CHECK(!fixed || (x.size(0) == 1 && steps <= 64), "bits: ", x.sizes(), " for ", steps, " steps");
        TORCH_CHECK((x.size(0) == steps || fixed) && (common || (x.size(1) == members && (members == 1 || x.stride(1) == 1))), "varying: ", x.sizes(),
                    " for ", steps, " steps of ", members, " members");
        in.push_back((const char*)x.const_data_ptr()), stride.push_back(fixed ? 0 : x.stride(0) * x.element_size());
        element.push_back(common ? 0 : x.element_size());
    }
    std::atomic<bool> not_finite{false};
    const int64_t grain = std::max<int64_t>(1, 10000 / std::max<int64_t>(1, steps));
    at::parallel_for(0, members, grain, [&](int64_t begin, int64_t end) {
        std::vector<const char*> from(in);
        std::vector<char*> to(out);
        for (size_t i = 0; i < from.size(); i++) from[i] += begin * element[i];
        for (size_t i = 0; i < to.size(); i++) to[i] += begin * element[i];
        if (((Recurrence)address)(from.data(), stride.data(), to.data(), end - begin, steps)) not_finite = true;
    });
    results.push_back(at::full({}, not_finite.load(), at::kBool));
    return results;
}

}  // namespace shb
