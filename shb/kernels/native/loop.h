// The pointwise loops of a tape (tape.h).
#pragma once

#include <algorithm>
#include <vector>

#include "context.h"
#include "pointwise.h"

namespace shb {

// Pointwise operations on [rows, columns] elements of each member, piece by piece.
struct Loop : Instruction {
    static constexpr int64_t PIECE = 512, REGISTER_BYTES = 8 * PIECE;
    struct Operand {
        int64_t place, index, offset, row, column, size;  // a Place; strides and offset in elements of `size` bytes
        int64_t step;                                   // bytes from element to element of a row, 0 for a register
        bool many;                                      // else one number for a row
    };
    struct Operation {
        Pointwise function;
        Operand in[3], out;
    };
    int64_t rows, columns, registers = 0;
    std::vector<Operation> operations;

    explicit Loop(Reader& read) {
        rows = read(), columns = read();
        operations.resize(read());
        for (Operation& operation : operations) {
            const auto function = (Function)read();
            const auto type = (Dtype)read(), to = (Dtype)read();
            operation.function = pointwise(function, type, to);
            for (Operand* o : {&operation.out, &operation.in[0], &operation.in[1], &operation.in[2]}) {
                o->place = read(), o->index = read(), o->offset = read(), o->row = read(), o->column = read();
                o->size = (int64_t)c10::elementSize(scalar_type(read()));
                o->many = o->column != 0, o->step = o->place == REGISTER ? 0 : o->column * o->size;
                if (o->place == REGISTER) registers = std::max(registers, o->index + 1);
            }
        }
    }
    void run(Context& context) const override {
        static thread_local std::vector<char*> start;
        start.resize(4 * operations.size());
        const int64_t lines = rows == 1 ? 1 : context.members;  // members whose elements follow each other are one row
        const int64_t length = rows == 1 ? columns * context.members : columns;
        for (int64_t member = 0; member < lines; member++)
            for (int64_t row = 0; row < rows; row++) {
                char** address = start.data();
                for (const Operation& operation : operations)
                    for (const Operand* o : {operation.in, operation.in + 1, operation.in + 2, &operation.out})
                        *address++ = o->place == REGISTER ? context.registers + o->index * REGISTER_BYTES
                                                         : context.of<char>(o->index, member) + (o->offset + row * o->row) * o->size;
                for (int64_t first = 0; first < length; first += PIECE) {
                    char** from = start.data();
                    const int64_t n = std::min(PIECE, length - first);
                    for (const Operation& operation : operations) {
                        const Operand* in = operation.in;
                        operation.function({from[0] + first * in[0].step, in[0].many}, {from[1] + first * in[1].step, in[1].many},
                                           {from[2] + first * in[2].step, in[2].many}, from[3] + first * operation.out.step, n);
                        from += 4;
                    }
                }
            }
    }
    double cost() const override { return 0.1 * operations.size() * rows * columns + 5.0 * rows * operations.size(); }
};

}  // namespace shb
