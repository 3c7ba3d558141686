// A tape: the operations of one member, recorded once and run for every member of a stack of any size.
//
// A thread takes one block of members after the other through the whole tape, so that what lies between the operations
// stays in its cache, and no operation has to be called, shared among threads or allocated for on its own.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/custom_class.h>

#include <memory>
#include <vector>

#include "instructions.h"
#include "loop.h"

namespace shb {

struct Tape : torch::CustomClassHolder {
    struct Value {
        int64_t slot, place, bytes, type;  // index of the tensor or offset in the scratch memory; bytes of a member there; Dtype
    };
    struct Output {
        at::ScalarType type;
        std::vector<int64_t> sizes;  // of a member, the first times the number of members if `merged`
        bool merged, flag;
    };
    std::vector<Value> values;
    std::vector<Output> outputs;
    std::vector<std::unique_ptr<Instruction>> instructions;
    std::vector<at::Tensor> fixed;
    int64_t given, block, scratch, registers = 0, packed = 0;
    double cost = 1.0;

    Tape(const std::vector<int64_t>& values_, const std::vector<int64_t>& outputs_, const std::vector<int64_t>& code,
         std::vector<at::Tensor> fixed_, int64_t given_, int64_t block_, int64_t scratch_)
        : fixed(std::move(fixed_)), given(given_), block(block_), scratch(scratch_) {
        for (size_t i = 0; i + 3 < values_.size(); i += 4) {
            scalar_type(values_[i + 3]);  // throws
            values.push_back({values_[i], values_[i + 1], values_[i + 2], values_[i + 3]});
            if (values.back().slot == FIXED) checked(fixed.at(values.back().place), values.back(), 1);
        }
        for (Reader read{outputs_}; read.next < outputs_.size();) {
            Output one;
            one.type = scalar_type(read()), one.merged = read(), one.flag = read(), one.sizes = read.list();
            outputs.push_back(one);
        }
        for (Reader read{code}; read.next < code.size();) {
            instructions.push_back(instruction(read));
            if (auto loop = dynamic_cast<Loop*>(instructions.back().get())) registers = std::max(registers, loop->registers);
            if (auto one = dynamic_cast<Product*>(instructions.back().get())) packed = std::max(packed, one->packed_size());
            cost += instructions.back()->cost();
        }
    }

    static std::unique_ptr<Instruction> instruction(Reader& read) {
        switch ((Opcode)read()) {
#define CASE(name, Type) case name: return std::make_unique<Type>(read);
            X_OPCODES(CASE)
#undef CASE
        }
        throw std::invalid_argument("opcode");
    }

    // inputs: [members, ...] or shared; a member's elements are contiguous (else they are copied first)
    std::vector<at::Tensor> run(const std::vector<at::Tensor>& inputs, int64_t members) const {
        TORCH_CHECK((int64_t)inputs.size() == given, "a tape of ", given, " inputs was given ", inputs.size());
        std::vector<at::Tensor> kept, results;
        for (const Output& o : outputs) {
            std::vector<int64_t> sizes = o.sizes;
            if (o.flag) {
                results.push_back(at::zeros({}, at::kBool));
                continue;
            }
            if (o.merged) sizes.at(0) *= members;
            else sizes.insert(sizes.begin(), members);
            results.push_back(at::empty(sizes, o.type));
        }
        std::vector<char*> base(values.size(), nullptr);
        std::vector<int64_t> stride(values.size(), 0);
        for (size_t i = 0; i < values.size(); i++) {
            const Value& v = values[i];
            switch (v.slot) {
                case INPUT: {
                    const at::Tensor& given = inputs.at(v.place);
                    TORCH_CHECK(given.dim() > 0 && given.size(0) == members, "an input has ", given.sizes(), " for ", members, " members");
                    checked(given, v, members);
                    const at::Tensor x = (block == 1 ? in_order(given) : given.is_contiguous()) ? given : given.contiguous();
                    if (!x.is_same(given)) kept.push_back(x);
                    base[i] = (char*)x.const_data_ptr(), stride[i] = x.stride(0) * x.element_size();
                    break;
                }
                case SHARED: {
                    const at::Tensor& given = inputs.at(v.place);
                    checked(given, v, 1);
                    const at::Tensor x = given.is_contiguous() ? given : given.contiguous();
                    if (!x.is_same(given)) kept.push_back(x);
                    base[i] = (char*)x.const_data_ptr();
                    break;
                }
                case FIXED: base[i] = (char*)fixed.at(v.place).const_data_ptr(); break;
                case OUTPUT: base[i] = (char*)results.at(v.place).data_ptr(), stride[i] = v.bytes; break;
                case FLAG: base[i] = (char*)results.at(v.place).data_ptr(); break;
                default: stride[i] = v.bytes;
            }
        }
        const int64_t blocks = (members + block - 1) / block, grain = std::max<int64_t>(1, (int64_t)(1e4 / (cost * block)));
        at::parallel_for(0, blocks, grain, [&](int64_t begin, int64_t end) {
            static thread_local std::vector<char> memory;
            const int64_t needed = scratch + registers * Loop::REGISTER_BYTES + ALIGNMENT;
            if ((int64_t)memory.size() < needed) memory.resize(needed);
            char* arena = memory.data() + (-(intptr_t)memory.data() & (ALIGNMENT - 1));
            Context context;
            context.at.resize(values.size());
            context.stride = stride.data();
            context.registers = arena + scratch;
            if (packed) context.packed.reset(new float[packed]);
            for (int64_t b = begin; b < end; b++) {
                context.members = std::min(block, members - b * block);
                for (size_t i = 0; i < values.size(); i++)
                    context.at[i] = values[i].slot == SCRATCH ? arena + values[i].place : base[i] + b * block * stride[i];
                for (const auto& one : instructions) one->run(context);
            }
        });
        return results;
    }

    // the instructions read and write what they were recorded for, whatever lies there
    static void checked(const at::Tensor& x, const Value& v, int64_t members) {
        const int64_t size = v.bytes / (int64_t)c10::elementSize(scalar_type(v.type));
        TORCH_CHECK(x.device().is_cpu(), "input ", v.place, " of a tape is on ", x.device(), ", not on a CPU");
        TORCH_CHECK(x.scalar_type() == scalar_type(v.type), "input ", v.place, " of a tape is ", x.scalar_type(), ", not ", scalar_type(v.type));
        TORCH_CHECK(x.numel() == members * size, "input ", v.place, " of a tape has ", x.sizes(), ", not ", members, " x ", size, " numbers");
    }

    // whether each member's elements are contiguous
    static bool in_order(const at::Tensor& x) {
        int64_t expected = 1;
        for (int64_t d = x.dim() - 1; d > 0; d--) {
            if (x.size(d) != 1 && x.stride(d) != expected) return false;
            expected *= x.size(d);
        }
        return true;
    }
};

}  // namespace shb
