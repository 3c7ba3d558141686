// Max-pooling over windows that do not overlap, of images whose channels come last.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <cstring>
#include <tuple>

#include "enumerations.h"
#include "tile.h"

namespace shb {

struct Window {
    int64_t rows, columns;
};
template <int ROWS, int COLUMNS>
struct Fixed {  // a window whose loops unroll
    static constexpr int rows = ROWS, columns = COLUMNS;
};

// One line of windows, of lines [width, channels] -> y and which [width / columns, channels]: the maximum and its cell, the
// first one at ties. Not-a-number is the largest, and the last one is taken, as torch does. RELU: y = max(maximum, 0), without a cell where that is 0.
template <bool RELU, class W>
static void pool_windows(const float* lines, int64_t width, int64_t channels, W window, float* y, uint8_t* which) {
    const int64_t line = width * channels, step = window.columns * channels;
    for (int64_t w = width / window.columns; w > 0; w--, lines += step, y += channels, which += channels) {
        int64_t c = 0;
        for (; c + LANES <= channels; c += LANES) {
            Vector largest = *(const Vector*)(lines + c);
            Places place = {};
            int cell = 0;
            for (int row = 0; row < window.rows; row++)
                for (int column = 0; column < window.columns; column++, cell++) {
                    const Vector x = *(const Vector*)(lines + row * line + column * channels + c);
                    const Places larger = (x > largest) | (x != x);
                    largest = larger ? x : largest;
                    place = larger ? Places{} + cell : place;
                }
            if (RELU) {
                const Places stopped = largest <= 0.0f;
                largest = stopped ? Vector{} : largest;
                place = stopped ? Places{} + NOWHERE : place;
            }
            *(Vector*)(y + c) = largest;
            *(Bytes*)(which + c) = __builtin_convertvector(place, Bytes);
        }
        for (; c < channels; c++) {
            float largest = lines[c];
            int place = 0, cell = 0;
            for (int row = 0; row < window.rows; row++)
                for (int column = 0; column < window.columns; column++, cell++) {
                    const float x = lines[row * line + column * channels + c];
                    if (x > largest || x != x) largest = x, place = cell;
                }
            if (RELU && largest <= 0.0f) largest = 0.0f, place = NOWHERE;
            y[c] = largest, which[c] = (uint8_t)place;
        }
    }
}

template <bool RELU>
static void pool_line(const float* lines, int64_t width, int64_t channels, Window window, float* y, uint8_t* which) {
    if (window.rows == 2 && window.columns == 2)
        pool_windows<RELU>(lines, width, channels, Fixed<2, 2>(), y, which);
    else if (window.rows == 1 && window.columns == 2)
        pool_windows<RELU>(lines, width, channels, Fixed<1, 2>(), y, which);
    else
        pool_windows<RELU>(lines, width, channels, window, y, which);
}

// The gradient of an image: [height, width, channels], lines `line` and pixels `step` elements apart, of the gradient of its
// windows. Elements between the channels and `step` stay as they are.
template <class W>
static void spread_windows(const float* upstream, const uint8_t* which, int64_t height, int64_t width, int64_t channels,
                           W window, float* image, int64_t line, int64_t step) {
    const int64_t out_height = height / window.rows, out_width = width / window.columns;
    const auto zero = [&](int64_t h, int64_t w) { std::memset(image + h * line + w * step, 0, channels * sizeof(float)); };
    for (int64_t h = 0; h < height; h++)
        for (int64_t w = h < out_height * window.rows ? out_width * window.columns : 0; w < width; w++) zero(h, w);
    for (int64_t i = 0; i < out_height; i++)
        for (int64_t j = 0; j < out_width; j++, upstream += channels, which += channels) {
            float* out = image + i * window.rows * line + j * window.columns * step;
            int64_t c = 0;
            for (; c + LANES <= channels; c += LANES) {
                const Places place = __builtin_convertvector(*(const Bytes*)(which + c), Places);
                const Vector u = *(const Vector*)(upstream + c);
                int cell = 0;
                for (int row = 0; row < window.rows; row++)
                    for (int column = 0; column < window.columns; column++, cell++)
                        *(Vector*)(out + row * line + column * step + c) = place == cell ? u : Vector{};
            }
            for (; c < channels; c++) {
                int cell = 0;
                for (int row = 0; row < window.rows; row++)
                    for (int column = 0; column < window.columns; column++, cell++)
                        out[row * line + column * step + c] = which[c] == cell ? upstream[c] : 0.0f;
            }
        }
}

static void spread(const float* upstream, const uint8_t* which, int64_t height, int64_t width, int64_t channels,
                   Window window, float* image, int64_t line, int64_t step) {
    if (window.rows == 2 && window.columns == 2)
        spread_windows(upstream, which, height, width, channels, Fixed<2, 2>(), image, line, step);
    else if (window.rows == 1 && window.columns == 2)
        spread_windows(upstream, which, height, width, channels, Fixed<1, 2>(), image, line, step);
    else
        spread_windows(upstream, which, height, width, channels, window, image, line, step);
}

// y and which [n, height / rows, width / columns, channels] of x [n, height, width, channels]
static void pool_all(const float* x, int64_t n, int64_t height, int64_t width, int64_t channels, Window window, float* y, uint8_t* which) {
    const int64_t lines = height / window.rows, line = width / window.columns * channels;
    at::parallel_for(0, n * lines, grain(window.rows * width * channels), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; i++)
            pool_line<false>(x + (i / lines * height + i % lines * window.rows) * width * channels, width, channels, window,
                             y + i * line, which + i * line);
    });
}

// gradient [n, height, width, channels]
static void spread_all(const float* upstream, const uint8_t* which, int64_t n, int64_t height, int64_t width, int64_t channels,
                       Window window, float* gradient) {
    const int64_t from = height / window.rows * (width / window.columns) * channels, line = width * channels;
    at::parallel_for(0, n, grain(height * line), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; i++)
            spread(upstream + i * from, which + i * from, height, width, channels, window, gradient + i * height * line, line,
                   channels);
    });
}

// x [n, channels, height, width] -> y and which [n, channels, height / rows, width / columns]
static std::tuple<at::Tensor, at::Tensor> max_pool(const at::Tensor& images, at::IntArrayRef sizes) {
    const at::Tensor x = images.permute({0, 2, 3, 1}).contiguous();
    const Window window = {sizes[0], sizes[1]};
    at::Tensor y = at::empty({x.size(0), x.size(1) / window.rows, x.size(2) / window.columns, x.size(3)}, x.options());
    at::Tensor which = at::empty(y.sizes(), x.options().dtype(at::kByte));
    pool_all(x.const_data_ptr<float>(), x.size(0), x.size(1), x.size(2), x.size(3), window, y.mutable_data_ptr<float>(),
             which.mutable_data_ptr<uint8_t>());
    return {y.permute({0, 3, 1, 2}), which.permute({0, 3, 1, 2})};
}

static at::Tensor max_pool_backward(const at::Tensor& upstreams, const at::Tensor& images, at::IntArrayRef sizes,
                                    const at::Tensor& cells) {
    const at::Tensor upstream = upstreams.permute({0, 2, 3, 1}).contiguous(), which = cells.permute({0, 2, 3, 1}).contiguous();
    const int64_t n = images.size(0), channels = images.size(1), height = images.size(2), width = images.size(3);
    at::Tensor gradient = at::empty({n, height, width, channels}, upstream.options());
    spread_all(upstream.const_data_ptr<float>(), which.const_data_ptr<uint8_t>(), n, height, width, channels, {sizes[0], sizes[1]},
               gradient.mutable_data_ptr<float>());
    return gradient.permute({0, 3, 1, 2});
}

}  // namespace shb
