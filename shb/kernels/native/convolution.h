// Convolutions of the images of all members: implicit products, whose patches are read where the image lies.
//
// A rectifier is a convolution, a ReLU and a max-pooling in one, line by line, so that what lies between them stays in the
// processor's cache. Its gradients are sums over the pixels that were a maximum and passed the ReLU.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <cstring>
#include <optional>
#include <vector>

#include "pooling.h"
#include "tile.h"

namespace shb {

constexpr int64_t BLOCK = 256;  // pixels that a gradient of the weight sums before it adds to memory

// Sizes of one member's convolution: stride 1, zero padding that keeps height and width.
struct Geometry {
    int64_t members, images, height, width, channels, kernel_height, kernel_width, out;
    int64_t run() const { return kernel_width * channels; }  // of a patch, contiguous in a frame
    int64_t depth() const { return kernel_height * run(); }
    int64_t line() const { return (width + kernel_width - 1) * channels; }  // of a frame
    int64_t frame() const { return (height + kernel_height - 1) * line(); }
    int64_t start() const { return kernel_height / 2 * line() + kernel_width / 2 * channels; }  // of an image in a frame
    int64_t pixels() const { return height * width; }
    int64_t block() const { return std::min(images, (BLOCK + pixels() - 1) / pixels()); }  // images of a gradient's partial sum
    int64_t flops() const { return 2 * images * pixels() * depth() * out; }  // of a member
};

static Geometry geometry(const at::Tensor& x, at::IntArrayRef kernel, int64_t out) {
    return {x.size(0), x.size(1), x.size(2), x.size(3), x.size(4), kernel[0], kernel[1], out};
}

// x itself if the memory of each member is contiguous (members may share theirs), else a copy
static at::Tensor dense(const at::Tensor& x) {
    return x.size(0) > 0 && x.select(0, 0).is_contiguous() ? x : x.contiguous();
}

// What puts an image of x [members, images, height, width, channels], members `stride` apart, into the middle of a frame
// with a border of zeros.
static auto copier(const Geometry& g, const float* x, int64_t stride) {
    return [g, x, stride](int64_t i, int64_t image, float* frame) {
        const int64_t line = g.width * g.channels;
        const float* from = x + i * stride + image * g.height * line;
        for (int64_t h = 0; h < g.height; h++)
            std::memcpy(frame + g.start() + h * g.line(), from + h * line, line * sizeof(float));
    };
}

// The same for the gradient of an image of which `upstream` and `which` [members, images, windows, channels] are given.
static auto spreader(const Geometry& g, Window window, const float* upstream, const uint8_t* which) {
    const int64_t size = g.height / window.rows * (g.width / window.columns) * g.channels;
    return [=](int64_t i, int64_t image, float* frame) {
        const int64_t from = (i * g.images + image) * size;
        spread(upstream + from, which + from, g.height, g.width, g.channels, window, frame + g.start(), g.line(), g.channels);
    };
}

// What makes the matrix [depth, out] of a member's weight [depth, out].
static auto forwards(const Geometry& g, const float* weight) {
    return [g, weight](int64_t i, std::unique_ptr<float[]>& memory) {
        return Packed(weight + i * g.depth() * g.out, g.depth(), g.out, g.out, 1, memory);
    };
}

// The same of the kernel that takes gradients back, of a weight [taps, g.out, g.channels] whose inputs are g's outputs.
static auto backwards(const Geometry& g, const float* weight) {
    return [g, weight](int64_t i, std::unique_ptr<float[]>& memory) {
        const int64_t taps = g.kernel_height * g.kernel_width, row = padded(g.out);
        if (!memory) memory.reset(new float[g.depth() * row]);
        for (int64_t tap = 0; tap < taps; tap++)
            pack(weight + (i * taps + taps - 1 - tap) * g.channels * g.out, g.channels, g.out, 1, g.channels,
                 memory.get() + tap * g.channels * row, row);
        return Packed(memory.get(), row);
    };
}

// Calls use(i, image, convolve) for every image, where convolve(h, lines, out) makes lines h, h + 1, .. of the convolution
// of the image that fill(i, image, frame) put into a frame, with the matrix [depth, out] of matrix_of(i, memory) and a bias
// [members, out] or none.
template <class Matrix, class Fill, class Use>
static void each_image(const Geometry& g, Matrix matrix_of, const float* bias, Fill fill, Use use) {
    const int64_t depth = g.depth(), parts = parts_of(g.members, g.images);
    std::unique_ptr<int32_t[]> offset(new int32_t[depth]);
    for (int64_t k = 0; k < depth; k++) offset[k] = (int32_t)(k / g.run() * g.line() + k % g.run());
    const int64_t groups = 2 * g.width <= TALLEST ? 2 : 1;
    at::parallel_for(0, g.members * parts, grain(g.flops() / parts), [&](int64_t begin, int64_t end) {
        std::unique_ptr<float[]> memory, frame(new float[g.frame()]());
        for (int64_t task = begin; task < end; task++) {
            const int64_t i = task / parts, part = task % parts;
            const Packed matrix = matrix_of(i, memory);
            const auto convolve = [&](int64_t first, int64_t lines, float* out) {
                for (int64_t column = 0; column < g.out; column += PANEL)
                    for (int64_t h = 0; h < lines; h += groups)
                        sweep({frame.get() + (first + h) * g.line(), g.line(), g.channels, offset.get(), depth,
                               matrix.at(column), matrix.stride(column), out + h * g.width * g.out + column, g.width * g.out, g.out,
                               (int)std::min<int64_t>(PANEL, g.out - column), bias ? Start::bias : Start::zero,
                               bias ? bias + i * g.out + column : nullptr},
                              (int)std::min(groups, lines - h), g.width);
            };
            for (int64_t image = g.images * part / parts; image < g.images * (part + 1) / parts; image++) {
                fill(i, image, frame.get());
                use(i, image, convolve);
            }
        }
    });
}

// y [members, images, height, width, out]
template <class Matrix, class Fill>
static void convolve_all(const Geometry& g, Matrix matrix_of, const float* bias, Fill fill, float* y) {
    each_image(g, matrix_of, bias, fill, [&](int64_t i, int64_t image, const auto& convolve) {
        convolve(0, g.height, y + (i * g.images + image) * g.pixels() * g.out);
    });
}

// y and which [members, images, height / rows, width / columns, out]
template <class Matrix, class Fill>
static void rectify_all(const Geometry& g, Window window, Matrix matrix_of, const float* bias, Fill fill, float* y, uint8_t* which) {
    const int64_t lines = g.height / window.rows, line = g.width / window.columns * g.out;
    each_image(g, matrix_of, bias, fill, [&](int64_t i, int64_t image, const auto& convolve) {
        static thread_local std::vector<float> memory;
        memory.resize(window.rows * g.width * g.out);
        for (int64_t h = 0; h < lines; h++) {
            const int64_t to = ((i * g.images + image) * lines + h) * line;
            convolve(h * window.rows, window.rows, memory.data());
            pool_line<true>(memory.data(), g.width, g.out, window, y + to, which + to);
        }
    });
}

static at::Tensor convolution(const at::Tensor& images, const at::Tensor& weights, const std::optional<at::Tensor>& biases,
                              at::IntArrayRef kernel) {
    const at::Tensor x = dense(images), weight = weights.contiguous(), bias = biases ? biases->contiguous() : at::Tensor();
    const Geometry g = geometry(x, kernel, weight.size(2));
    at::Tensor y = at::empty({g.members, g.images, g.height, g.width, g.out}, x.options());
    convolve_all(g, forwards(g, weight.const_data_ptr<float>()), biases ? bias.const_data_ptr<float>() : nullptr,
                 copier(g, x.const_data_ptr<float>(), x.stride(0)), y.mutable_data_ptr<float>());
    return y;
}

static std::tuple<at::Tensor, at::Tensor> rectifier(const at::Tensor& images, const at::Tensor& weights,
                                                    const at::Tensor& biases, at::IntArrayRef kernel, at::IntArrayRef sizes) {
    const at::Tensor x = dense(images), weight = weights.contiguous(), bias = biases.contiguous();
    const Geometry g = geometry(x, kernel, weight.size(2));
    const Window window = {sizes[0], sizes[1]};
    at::Tensor y = at::empty({g.members, g.images, g.height / window.rows, g.width / window.columns, g.out}, x.options());
    at::Tensor which = at::empty(y.sizes(), x.options().dtype(at::kByte));
    rectify_all(g, window, forwards(g, weight.const_data_ptr<float>()), bias.const_data_ptr<float>(),
                copier(g, x.const_data_ptr<float>(), x.stride(0)), y.mutable_data_ptr<float>(), which.mutable_data_ptr<uint8_t>());
    return {y, which};
}

static at::Tensor convolution_input(const at::Tensor& upstreams, const at::Tensor& weights, at::IntArrayRef kernel) {
    const at::Tensor upstream = dense(upstreams), weight = weights.contiguous();
    const Geometry g = geometry(upstream, kernel, weight.size(1) / (kernel[0] * kernel[1]));
    at::Tensor x = at::empty({g.members, g.images, g.height, g.width, g.out}, upstream.options());
    convolve_all(g, backwards(g, weight.const_data_ptr<float>()), nullptr,
                 copier(g, upstream.const_data_ptr<float>(), upstream.stride(0)), x.mutable_data_ptr<float>());
    return x;
}

static at::Tensor rectifier_input(const at::Tensor& upstreams, const at::Tensor& cells, const at::Tensor& weights,
                                  at::IntArrayRef size, at::IntArrayRef kernel, at::IntArrayRef sizes) {
    const at::Tensor upstream = upstreams.contiguous(), which = cells.contiguous(), weight = weights.contiguous();
    Geometry g = geometry(upstream, kernel, weight.size(1) / (kernel[0] * kernel[1]));
    g.height = size[0], g.width = size[1];
    at::Tensor x = at::empty({g.members, g.images, g.height, g.width, g.out}, upstream.options());
    convolve_all(g, backwards(g, weight.const_data_ptr<float>()), nullptr,
                 spreader(g, {sizes[0], sizes[1]}, upstream.const_data_ptr<float>(), which.const_data_ptr<uint8_t>()),
                 x.mutable_data_ptr<float>());
    return x;
}

// gradient [members, depth, out]; upstream(i, first, count, memory) is the upstream gradient [pixels, out] of some images
template <class Fill, class Upstream>
static void weight_gradient(const Geometry& g, Fill fill, Upstream upstream, float* gradient) {
    const int64_t pixels = g.pixels(), run = g.run(), block = g.block();
    std::unique_ptr<int32_t[]> offset(new int32_t[block * pixels]);
    for (int64_t p = 0; p < block * pixels; p++)
        offset[p] = (int32_t)(p / pixels * g.frame() + p % pixels / g.width * g.line() + p % g.width * g.channels);
    const int groups = g.kernel_height <= 3 && g.depth() <= TALLEST ? (int)g.kernel_height : 1;
    at::parallel_for(0, g.members, grain(g.flops()), [&](int64_t begin, int64_t end) {
        std::unique_ptr<float[]> memory, frames(new float[block * g.frame()]());
        for (int64_t i = begin; i < end; i++)
            for (int64_t first = 0; first < g.images; first += block) {
                const int64_t count = std::min(block, g.images - first);
                for (int64_t j = 0; j < count; j++) fill(i, first + j, frames.get() + j * g.frame());
                const Packed matrix = upstream(i, first, count, memory);
                for (int64_t column = 0; column < g.out; column += PANEL)
                    for (int64_t dy = 0; dy < g.kernel_height; dy += groups)
                        sweep({frames.get() + dy * g.line(), g.line(), 1, offset.get(), count * pixels, matrix.at(column), matrix.stride(column),
                               gradient + (i * g.depth() + dy * run) * g.out + column, run * g.out, g.out,
                               (int)std::min<int64_t>(PANEL, g.out - column), first > 0 ? Start::c : Start::zero, nullptr},
                              groups, run);
            }
    });
}

static auto plain_upstream(const Geometry& g, const float* upstream) {
    return [g, upstream](int64_t i, int64_t first, int64_t count, std::unique_ptr<float[]>& memory) {
        if (!memory) memory.reset(new float[g.block() * g.pixels() * padded(g.out)]);
        return Packed(upstream + (i * g.images + first) * g.pixels() * g.out, count * g.pixels(), g.out, g.out, 1, memory);
    };
}

static auto spread_upstream(const Geometry& g, Window window, const float* upstream, const uint8_t* which) {
    return [=](int64_t i, int64_t first, int64_t count, std::unique_ptr<float[]>& memory) {
        const int64_t size = g.height / window.rows * (g.width / window.columns) * g.out, row = padded(g.out);
        if (!memory) memory.reset(new float[g.block() * g.pixels() * row]());
        for (int64_t j = 0; j < count; j++) {
            const int64_t from = (i * g.images + first + j) * size;
            spread(upstream + from, which + from, g.height, g.width, g.out, window, memory.get() + j * g.pixels() * row,
                   g.width * row, row);
        }
        return Packed(memory.get(), row);
    };
}

static at::Tensor convolution_weight(const at::Tensor& images, const at::Tensor& upstreams, at::IntArrayRef kernel) {
    const at::Tensor x = dense(images), upstream = upstreams.contiguous();
    const Geometry g = geometry(x, kernel, upstream.size(4));
    at::Tensor gradient = at::empty({g.members, g.depth(), g.out}, x.options());
    weight_gradient(g, copier(g, x.const_data_ptr<float>(), x.stride(0)), plain_upstream(g, upstream.const_data_ptr<float>()),
                    gradient.mutable_data_ptr<float>());
    return gradient;
}

static at::Tensor rectifier_weight(const at::Tensor& images, const at::Tensor& upstreams, const at::Tensor& cells,
                                   at::IntArrayRef kernel, at::IntArrayRef sizes) {
    const at::Tensor x = dense(images), upstream = upstreams.contiguous(), which = cells.contiguous();
    const Geometry g = geometry(x, kernel, upstream.size(4));
    at::Tensor gradient = at::empty({g.members, g.depth(), g.out}, x.options());
    weight_gradient(g, copier(g, x.const_data_ptr<float>(), x.stride(0)),
                    spread_upstream(g, {sizes[0], sizes[1]}, upstream.const_data_ptr<float>(), which.const_data_ptr<uint8_t>()),
                    gradient.mutable_data_ptr<float>());
    return gradient;
}

// gradient [members, out]: the sum of what passed the ReLU, in blocks of pixels
static void bias_gradient(const float* u_data, const uint8_t* which_data, int64_t members, int64_t pixels, int64_t out, float* data) {
    std::fill(data, data + members * out, 0.0f);
    at::parallel_for(0, members, grain(2 * pixels * out), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; i++)
            for (int64_t first = i * pixels; first < (i + 1) * pixels; first += BLOCK) {
                const int64_t last = std::min(first + BLOCK, (i + 1) * pixels);
                int64_t c = 0;
                for (; c + LANES <= out; c += LANES) {
                    Vector sum = {};
                    for (int64_t p = first; p < last; p++) {
                        const Places place = __builtin_convertvector(*(const Bytes*)(which_data + p * out + c), Places);
                        sum += place == (int32_t)NOWHERE ? Vector{} : *(const Vector*)(u_data + p * out + c);
                    }
                    *(Vector*)(data + i * out + c) += sum;
                }
                for (; c < out; c++) {
                    float sum = 0.0f;
                    for (int64_t p = first; p < last; p++) sum += which_data[p * out + c] == NOWHERE ? 0.0f : u_data[p * out + c];
                    data[i * out + c] += sum;
                }
            }
    });
}

static at::Tensor rectifier_bias(const at::Tensor& upstreams, const at::Tensor& cells) {
    const at::Tensor upstream = upstreams.contiguous(), which = cells.contiguous();
    const int64_t members = upstream.size(0), out = upstream.size(4), pixels = upstream.numel() / std::max<int64_t>(1, members * out);
    at::Tensor gradient = at::empty({members, out}, upstream.options());
    bias_gradient(upstream.const_data_ptr<float>(), which.const_data_ptr<uint8_t>(), members, pixels, out,
                  gradient.mutable_data_ptr<float>());
    return gradient;
}

}  // namespace shb
