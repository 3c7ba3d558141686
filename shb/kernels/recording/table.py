"""Which operation of torch, overload by overload, a tape has, and what records it."""

from __future__ import annotations

import operator
from typing import Any

import torch

_aten, _shb = torch.ops.aten, torch.ops.shb

FUNCTIONS: dict[Any, str] = {  # elementwise: operation -> function of a tape
    **{
        getattr(getattr(_aten, name), overload): name
        for name in ("add", "sub", "mul", "div", "eq", "ne", "lt", "le", "gt", "ge")
        for overload in ("Tensor", "Scalar")
    },
    **{
        getattr(_aten, name).default: name
        for name in ("maximum", "minimum", "neg", "abs", "sqrt", "reciprocal", "relu")
    },
    **{getattr(_aten.where, overload): "where" for overload in ("self", "ScalarOther", "ScalarSelf", "Scalar")},
    **{getattr(_aten, f"bitwise_{name}").Tensor: name for name in ("and", "or", "xor")},
    **{getattr(_aten, f"logical_{name}").default: name for name in ("and", "or", "xor", "not")},
    **{_aten.bitwise_not.default: "not", _aten.sgn.default: "sign", _aten.sign.default: "sign"},
}

METHODS: dict[Any, str] = {  # operation -> method of the recorder
    # elementwise.py
    _aten.rsub.Scalar: "_rsub",
    _aten.rsub.Tensor: "_rsub",
    _aten.threshold_backward.default: "_threshold_backward",
    _aten.pow.Tensor_Scalar: "_pow",
    _aten.isnan.default: "_isnan",
    _aten._to_copy.default: "_to_copy",
    _aten.ones_like.default: "_ones_like",
    _aten.zeros_like.default: "_zeros_like",
    _aten.scalar_tensor.default: "_scalar_tensor",
    _aten.stack.default: "_stack",
    _aten.select_backward.default: "_select_backward",
    # reductions.py
    _aten.sum.dim_IntList: "_sum",
    _aten.mean.dim: "_mean",
    _aten.argmax.default: "_argmax",
    _aten._log_softmax.default: "_log_softmax",
    _aten._log_softmax_backward_data.default: "_log_softmax_backward_data",
    _aten.any.default: "_any",
    _aten.bmm.default: "_bmm",
    _shb.native_bmm.default: "_bmm",
    _aten.index_select.default: "_index_select",
    # views.py
    _aten.view.default: "_view",
    _aten._unsafe_view.default: "_view",
    _aten.permute.default: "_permute",
    _aten.transpose.int: "_transpose",
    _aten.unsqueeze.default: "_unsqueeze",
    _aten.squeeze.dim: "_squeeze",
    _aten.squeeze.dims: "_squeeze",
    _aten.select.int: "_select",
    _aten.unbind.int: "_unbind",
    _aten.expand.default: "_expand",
    _aten.alias.default: "_alias",
    _aten.detach.default: "_alias",
    _aten.lift_fresh_copy.default: "_alias",
    _aten.clone.default: "_clone",
    _shb.native_contiguous.default: "_clone",
    operator.getitem: "_getitem",
    # images.py
    **{
        getattr(_shb, f"native_{name}").default: f"_native_{name}"
        for name in (
            *("convolution", "convolution_input", "convolution_weight", "rectifier", "rectifier_input"),
            *("rectifier_weight", "rectifier_bias", "max_pool", "max_pool_backward"),
        )
    },
}
