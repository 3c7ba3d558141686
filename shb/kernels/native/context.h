// What the instructions of a tape (tape.h) share.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <vector>

#include "enumerations.h"

namespace shb {

// Of a Dtype.
static inline at::ScalarType scalar_type(int64_t type) {
#define SCALAR(name, scalar) scalar,
    static const std::vector<at::ScalarType> types = {X_DTYPES(SCALAR)};
#undef SCALAR
    if (type < 0 || type >= (int64_t)types.size()) throw std::invalid_argument("a dtype that a tape does not have");
    return types[type];
}

// Where a thread is: the first member of its block, and the memory of every value there.
struct Context {
    std::vector<char*> at;        // of every value, at the first member of the block
    const int64_t* stride;        // of every value, bytes from member to member
    int64_t members;              // of the block
    char* registers;              // memory for the results within a pointwise loop
    std::unique_ptr<float[]> packed;  // memory of products
    template <class T>
    T* of(int64_t value, int64_t member, int64_t offset = 0) const {
        return (T*)(at[value] + member * stride[value]) + offset;
    }
    // f(member, a number of the type F32 or F64)
    template <class F>
    void each(int64_t type, F f) const {
        for (int64_t i = 0; i < members; i++) type == F32 ? f(i, 0.0f) : f(i, 0.0);
    }
};

struct Instruction {
    virtual ~Instruction() = default;
    virtual void run(Context& context) const = 0;
    virtual double cost() const = 0;  // about nanoseconds per member
};

// Reads the numbers that a tape was made of.
struct Reader {
    const std::vector<int64_t>& code;
    size_t next = 0;
    int64_t operator()() { return code.at(next++); }
    std::vector<int64_t> list() {
        std::vector<int64_t> numbers((*this)());
        for (int64_t& number : numbers) number = (*this)();
        return numbers;
    }
};

}  // namespace shb
