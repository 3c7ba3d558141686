// Instructions of a tape (tape.h), but for its pointwise loops.
#pragma once

#include <cstring>

#include "context.h"
#include "convolution.h"
#include "pooling.h"
#include "products.h"
#include "reductions.h"

namespace shb {

// A contiguous copy of elements of any strides (0: repeated).
struct Contiguous : Instruction {
    int64_t in, offset, out, size;
    std::vector<int64_t> sizes, strides;
    explicit Contiguous(Reader& read) : in(read()), offset(read()), out(read()), size(read()), sizes(read.list()), strides(read.list()) {}
    template <class T>
    static void copy(const T* from, const int64_t* sizes, const int64_t* strides, size_t dimensions, T*& to) {
        if (dimensions == 0) {
            *to++ = *from;
        } else if (dimensions == 1) {
            for (int64_t i = 0; i < *sizes; i++) to[i] = from[i * *strides];
            to += *sizes;
        } else
            for (int64_t i = 0; i < *sizes; i++) copy(from + i * *strides, sizes + 1, strides + 1, dimensions - 1, to);
    }
    template <class T>
    void all(Context& context) const {
        for (int64_t i = 0; i < context.members; i++) {
            T* to = context.of<T>(out, i);
            copy(context.of<const T>(in, i, offset), sizes.data(), strides.data(), sizes.size(), to);
        }
    }
    void run(Context& context) const override { size == 4 ? all<int32_t>(context) : size == 8 ? all<int64_t>(context) : all<char>(context); }
    double cost() const override {
        double n = 1;
        for (int64_t s : sizes) n *= s;
        return n;
    }
};

// Rows of a table that is the same for all members: out [count, row bytes].
struct IndexSelect : Instruction {
    int64_t table, height, index, offset, out, count, bytes;
    explicit IndexSelect(Reader& read)
        : table(read()), height(read()), index(read()), offset(read()), out(read()), count(read()), bytes(read()) {}
    void run(Context& context) const override {
        for (int64_t i = 0; i < context.members; i++) {
            const int64_t* places = context.of<const int64_t>(index, i, offset);
            for (int64_t j = 0; j < count; j++) {
                TORCH_CHECK_INDEX(places[j] >= 0 && places[j] < height, "row ", places[j], " of a table of ", height, " rows");
                std::memcpy(context.of<char>(out, i) + j * bytes, context.at[table] + places[j] * bytes, bytes);
            }
        }
    }
    double cost() const override { return 0.1 * count * bytes; }
};

struct Sum : Instruction {
    int64_t type, in, offset, out, outer, terms, inner, divisor;
    explicit Sum(Reader& read)
        : type(read()), in(read()), offset(read()), out(read()), outer(read()), terms(read()), inner(read()), divisor(read()) {}
    void run(Context& context) const override {
        context.each(type, [&](int64_t i, auto number) {
            typedef decltype(number) T;
            sums<T>(context.of<const T>(in, i, offset), outer, terms, inner, (T)divisor, context.of<T>(out, i));
        });
    }
    double cost() const override { return 0.2 * outer * terms * inner; }
};

struct Argmax : Instruction {
    int64_t type, in, offset, out, rows, columns;
    explicit Argmax(Reader& read) : type(read()), in(read()), offset(read()), out(read()), rows(read()), columns(read()) {}
    void run(Context& context) const override {
        context.each(type, [&](int64_t i, auto number) {
            argmax(context.of<const decltype(number)>(in, i, offset), rows, columns, context.of<int64_t>(out, i));
        });
    }
    double cost() const override { return 1.0 * rows * columns; }
};

struct LogSoftmax : Instruction {
    int64_t type, in, offset, out, rows, columns;
    explicit LogSoftmax(Reader& read) : type(read()), in(read()), offset(read()), out(read()), rows(read()), columns(read()) {}
    void run(Context& context) const override {
        context.each(type, [&](int64_t i, auto number) {
            typedef decltype(number) T;
            log_softmax(context.of<const T>(in, i, offset), rows, columns, context.of<T>(out, i));
        });
    }
    double cost() const override { return 2.0 * rows * columns; }
};

struct LogSoftmaxBackward : Instruction {
    int64_t type, upstream, upstream_offset, y, y_offset, out, rows, columns;
    explicit LogSoftmaxBackward(Reader& read)
        : type(read()), upstream(read()), upstream_offset(read()), y(read()), y_offset(read()), out(read()), rows(read()), columns(read()) {}
    void run(Context& context) const override {
        context.each(type, [&](int64_t i, auto number) {
            typedef decltype(number) T;
            log_softmax_backward(context.of<const T>(upstream, i, upstream_offset), context.of<const T>(y, i, y_offset), rows, columns,
                                 context.of<T>(out, i));
        });
    }
    double cost() const override { return 2.0 * rows * columns; }
};

// out [m, n] = a [m, k] b [k, n] (+ bias [n]), of any strides, in float32
struct Product : Instruction {
    int64_t a, a_offset, a_row, a_column, b, b_offset, b_row, b_column, bias, bias_offset, out, m, n, k;
    std::vector<int32_t> offset;
    explicit Product(Reader& read)
        : a(read()), a_offset(read()), a_row(read()), a_column(read()), b(read()), b_offset(read()), b_row(read()), b_column(read()),
          bias(read()), bias_offset(read()), out(read()), m(read()), n(read()), k(read()), offset(k) {
        for (int64_t i = 0; i < k; i++) offset[i] = (int32_t)(i * a_column);
    }
    void run(Context& context) const override {
        for (int64_t i = 0; i < context.members; i++) {
            const Packed matrix(context.of<const float>(b, i, b_offset), k, n, b_row, b_column, context.packed);
            const float *from = context.of<const float>(a, i, a_offset), *start = bias < 0 ? nullptr : context.of<const float>(bias, i, bias_offset);
            product(from, a_row, offset.data(), matrix, start, context.of<float>(out, i), m, n, k);
        }
    }
    int64_t packed_size() const { return k * padded(n); }
    double cost() const override { return 0.02 * m * n * k; }
};

// Whether the bool `in` is true of any member: a flag that all threads share.
struct Any : Instruction {
    int64_t in, offset, out;
    explicit Any(Reader& read) : in(read()), offset(read()), out(read()) {}
    void run(Context& context) const override {
        for (int64_t i = 0; i < context.members; i++)
            if (*context.of<const bool>(in, i, offset)) __atomic_store_n(context.at[out], 1, __ATOMIC_RELAXED);
    }
    double cost() const override { return 1.0; }
};

// Where a member's images are, or another operand: a value and the offset of its first element.
struct Operand {
    int64_t value, offset;
    explicit Operand(Reader& read) : value(read()), offset(read()) {}
    template <class T>
    T* at(const Context& context, int64_t member) const { return context.of<T>(value, member, offset); }
};

// Of one member: images, height, width and channels of what a kernel passes over, the kernel, and its outputs.
struct Images : Instruction {
    Geometry g;
    Window window{1, 1};
    explicit Images(Reader& read) : g{1, read(), read(), read(), read(), read(), read(), read()} {}
    void read_window(Reader& read) { window = {read(), read()}; }
    double cost() const override { return 0.02 * g.flops(); }
};

struct Convolution : Images {
    Operand x, weight, bias, y;
    explicit Convolution(Reader& read) : Images(read), x(read), weight(read), bias(read), y(read) {}
    void run(Context& context) const override {
        for (int64_t i = 0; i < context.members; i++)
            convolve_all(g, forwards(g, weight.at<const float>(context, i)), bias.value < 0 ? nullptr : bias.at<const float>(context, i),
                         copier(g, x.at<const float>(context, i), 0), y.at<float>(context, i));
    }
};

struct ConvolutionInput : Images {
    Operand upstream, weight, x;
    explicit ConvolutionInput(Reader& read) : Images(read), upstream(read), weight(read), x(read) {}
    void run(Context& context) const override {
        for (int64_t i = 0; i < context.members; i++)
            convolve_all(g, backwards(g, weight.at<const float>(context, i)), nullptr, copier(g, upstream.at<const float>(context, i), 0),
                         x.at<float>(context, i));
    }
};

struct ConvolutionWeight : Images {
    Operand x, upstream, gradient;
    explicit ConvolutionWeight(Reader& read) : Images(read), x(read), upstream(read), gradient(read) {}
    void run(Context& context) const override {
        for (int64_t i = 0; i < context.members; i++)
            weight_gradient(g, copier(g, x.at<const float>(context, i), 0), plain_upstream(g, upstream.at<const float>(context, i)),
                            gradient.at<float>(context, i));
    }
};

struct Rectifier : Images {
    Operand x, weight, bias, y, which;
    explicit Rectifier(Reader& read) : Images(read), x(read), weight(read), bias(read), y(read), which(read) { read_window(read); }
    void run(Context& context) const override {
        for (int64_t i = 0; i < context.members; i++)
            rectify_all(g, window, forwards(g, weight.at<const float>(context, i)), bias.at<const float>(context, i),
                        copier(g, x.at<const float>(context, i), 0), y.at<float>(context, i), which.at<uint8_t>(context, i));
    }
};

struct RectifierInput : Images {
    Operand upstream, which, weight, x;
    explicit RectifierInput(Reader& read) : Images(read), upstream(read), which(read), weight(read), x(read) { read_window(read); }
    void run(Context& context) const override {
        for (int64_t i = 0; i < context.members; i++)
            convolve_all(g, backwards(g, weight.at<const float>(context, i)), nullptr,
                         spreader(g, window, upstream.at<const float>(context, i), which.at<const uint8_t>(context, i)),
                         x.at<float>(context, i));
    }
};

struct RectifierWeight : Images {
    Operand x, upstream, which, gradient;
    explicit RectifierWeight(Reader& read) : Images(read), x(read), upstream(read), which(read), gradient(read) { read_window(read); }
    void run(Context& context) const override {
        for (int64_t i = 0; i < context.members; i++)
            weight_gradient(g, copier(g, x.at<const float>(context, i), 0),
                            spread_upstream(g, window, upstream.at<const float>(context, i), which.at<const uint8_t>(context, i)),
                            gradient.at<float>(context, i));
    }
};

struct RectifierBias : Instruction {
    Operand upstream, which, gradient;
    int64_t pixels, out;
    explicit RectifierBias(Reader& read) : upstream(read), which(read), gradient(read), pixels(read()), out(read()) {}
    void run(Context& context) const override {
        for (int64_t i = 0; i < context.members; i++)
            bias_gradient(upstream.at<const float>(context, i), which.at<const uint8_t>(context, i), 1, pixels, out, gradient.at<float>(context, i));
    }
    double cost() const override { return 0.1 * pixels * out; }
};

struct MaxPool : Images {
    Operand x, y, which;
    explicit MaxPool(Reader& read) : Images(read), x(read), y(read), which(read) { read_window(read); }
    void run(Context& context) const override {
        for (int64_t i = 0; i < context.members; i++)
            pool_all(x.at<const float>(context, i), g.images, g.height, g.width, g.channels, window, y.at<float>(context, i),
                     which.at<uint8_t>(context, i));
    }
};

struct MaxPoolBackward : Images {
    Operand upstream, which, x;
    explicit MaxPoolBackward(Reader& read) : Images(read), upstream(read), which(read), x(read) { read_window(read); }
    void run(Context& context) const override {
        for (int64_t i = 0; i < context.members; i++)
            spread_all(upstream.at<const float>(context, i), which.at<const uint8_t>(context, i), g.images, g.height, g.width, g.channels,
                       window, x.at<float>(context, i));
    }
};

}  // namespace shb
