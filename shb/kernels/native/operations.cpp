// The operations that schemas.py declares, and tapes.

#include <torch/library.h>

#include "convolution.h"
#include "copy.h"
#include "pooling.h"
#include "products.h"
#include "random.h"
#include "recurrence.h"
#include "tape.h"

namespace shb {

TORCH_LIBRARY_FRAGMENT(shb, library) {
    library.class_<Tape>("Tape")
        .def(torch::init<std::vector<int64_t>, std::vector<int64_t>, std::vector<int64_t>, std::vector<at::Tensor>, int64_t, int64_t, int64_t>())
        .def("run", &Tape::run);
}

TORCH_LIBRARY_IMPL(shb, CPU, library) {
    library.impl("native_contiguous", contiguous);
    library.impl("native_bmm", bmm);
    library.impl("native_convolution", convolution);
    library.impl("native_convolution_input", convolution_input);
    library.impl("native_convolution_weight", convolution_weight);
    library.impl("native_rectifier", rectifier);
    library.impl("native_rectifier_input", rectifier_input);
    library.impl("native_rectifier_weight", rectifier_weight);
    library.impl("native_rectifier_bias", rectifier_bias);
    library.impl("native_max_pool", max_pool);
    library.impl("native_max_pool_backward", max_pool_backward);
    library.impl("native_words", words);
    library.impl("native_signs", signs_of);
    library.impl("native_recurrence", recurrence);
}

}  // namespace shb
