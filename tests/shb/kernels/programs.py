"""Random programs for a tape: 2 to 9 operations on numbers with zeros of both signs, infinities and not-a-number.

A value knows how far torch and a tape may differ in it. Elementwise operations may not. Sums, log_softmax and roots may
by rounding: `scale` is what the rounding is relative to. The sign of a zero may (`relu`, `maximum`, `minimum`): nothing
divides by such a value. Values that may differ by rounding are only looked at, so that no comparison hides or makes a
difference.
"""

import dataclasses
import math
import random

import torch
import torch.nn.functional as F

CONSTANTS = (0.0, -0.0, 1, 2.0, 0.5, -3, torch.inf, -torch.inf, torch.nan)
WIDTHS = (1, 2, 3, 5, 130)
NEIGHBOURS = 0.08  # share of operations that a tape need not have
NOT_OF_THESE = (RuntimeError, IndexError, TypeError, NotImplementedError)  # shapes or dtypes


@dataclasses.dataclass
class Tracked:
    """A tensor of a program, and in what it may differ."""

    tensor: torch.Tensor
    scale: torch.Tensor | None = None  # rounding: relative to this; None: none
    zero_sign: bool = False


def binary(name, sign=False, divides=False):
    function = getattr(torch, name)

    def apply(rng, pool):
        a = rng.choice(pool)
        fitting = [b for b in pool if _broadcast(a.tensor, b.tensor)]
        b = rng.choice(fitting) if rng.random() < 0.8 else Tracked(rng.choice(CONSTANTS))
        if divides and b.zero_sign:
            return None
        return Tracked(function(a.tensor, b.tensor), None, sign or a.zero_sign or b.zero_sign)

    return name, apply


def unary(name, function=None, sign=False, divides=False, scale=None):
    """`function(rng, tensor)`; without it, torch's of that name."""
    own = getattr(torch, name) if function is None else None

    def apply(rng, pool):
        a = rng.choice(pool)
        if divides and a.zero_sign:
            return None
        y = function(rng, a.tensor) if function else own(a.tensor)
        return Tracked(y, None if scale is None else scale(a.tensor, y), sign or a.zero_sign)

    return name, apply


def reduction(name, of_one=False):
    def apply(rng, pool):
        a = rng.choice(pool)
        x = a.tensor
        if x.ndim < 2:
            return None
        dims = rng.choice([(d,) for d in range(1, x.ndim)] + ([(1, 2)] if x.ndim == 3 else []) + [(-1,)])
        keep = rng.random() < 0.3
        y = getattr(x, name)(dims[0] if of_one else dims, keepdim=keep)
        scale = None
        if name in ("sum", "mean", "nansum", "logsumexp"):
            terms = math.prod(x.shape[d] for d in dims) if name == "mean" else 1
            scale = 1e-300 + _magnitude(x).sum(dims, keepdim=keep) / terms
        return Tracked(y, scale, a.zero_sign)

    return name, apply


def where(rng, pool):
    conditions = [p for p in pool if p.tensor.dtype == torch.bool]
    if not conditions:
        return None
    c = rng.choice(conditions).tensor
    fitting = [p for p in pool if _broadcast(p.tensor, c) and p.tensor.dtype != torch.bool]
    if not fitting:
        return None
    a = rng.choice(fitting)
    others = [p for p in fitting if _broadcast(p.tensor, a.tensor)]
    b = rng.choice(others) if rng.random() < 0.7 else Tracked(rng.choice((0.0, 1.0, torch.nan)))
    return Tracked(torch.where(c, a.tensor, b.tensor), None, a.zero_sign or b.zero_sign)


def _broadcast(a, b):
    return a.ndim == b.ndim and all(m == n or 1 in (m, n) for m, n in zip(a.shape, b.shape))


def _magnitude(x):
    return x.double().abs().nan_to_num(0, 0, 0)


def _dim(rng, x, extra=0):
    return rng.choice([*range(1, x.ndim + extra), *([-1] if x.ndim + extra > 1 else [])])


def _permuted(rng, x):
    dims = list(range(1, x.ndim))
    rng.shuffle(dims)
    return x.permute(0, *dims)


def _selected(rng, x):
    dim = _dim(rng, x)
    return x.select(dim, rng.randrange(-x.shape[dim], x.shape[dim]))


def _expanded(rng, x):
    return x.unsqueeze(1).expand(-1, rng.choice((2, 3)), *(-1,) * (x.ndim - 1)) if x.ndim < 3 else x


def _log_softmax_scale(x, y):
    return 1 + _magnitude(x).amax(-1, keepdim=True).expand_as(y)


DOCUMENTED = [
    *map(binary, ("add", "sub", "mul", "eq", "ne", "lt", "le", "gt", "ge")),
    *map(binary, ("logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor")),
    binary("div", divides=True),
    *(binary(name, sign=True) for name in ("maximum", "minimum")),
    *map(unary, ("neg", "abs", "isnan", "isfinite", "logical_not", "ones_like", "zeros_like")),
    *(unary(name, sign=True) for name in ("sign", "relu")),
    unary("reciprocal", divides=True),
    unary("sqrt", scale=lambda x, y: _magnitude(y)),
    unary("square", lambda rng, x: x**2),
    unary("rsub", lambda rng, x: 2 - x),
    unary("cast", lambda rng, x: x.to(rng.choice((torch.float32, torch.float64, torch.bool)))),
    unary("permute", _permuted),
    unary("flatten", lambda rng, x: x.flatten(1)),
    unary("unsqueeze", lambda rng, x: x.unsqueeze(_dim(rng, x, 1)) if x.ndim < 3 else x),
    unary("squeeze", lambda rng, x: x.squeeze(_dim(rng, x))),
    unary("select", _selected),
    unary("unbind", lambda rng, x: rng.choice(x.unbind(_dim(rng, x)))),
    unary("stack", lambda rng, x: torch.stack([x, x + 1], _dim(rng, x, 1)) if x.ndim < 3 else x),
    unary("expand", _expanded),
    unary("argmax", lambda rng, x: x.argmax(-1)),
    unary("log_softmax", lambda rng, x: F.log_softmax(x, x.ndim - 1), scale=_log_softmax_scale),
    *map(reduction, ("sum", "mean")),
    ("where", where),
]
NEARBY = [
    *(reduction(name, of_one=True) for name in ("all", "any", "logsumexp")),
    *map(reduction, ("amax", "amin", "nansum")),
    *map(unary, ("floor", "ceil", "round", "isinf", "signbit")),
    unary("clamp", lambda rng, x: x.clamp(-0.5, 1), sign=True),
    unary("clamp_min", lambda rng, x: x.clamp(min=0), sign=True),
    unary("cube", lambda rng, x: x**3),
    unary("floor_divide", lambda rng, x: torch.div(x, 2, rounding_mode="floor")),
    unary("add of twice", lambda rng, x: torch.add(x, x, alpha=2)),
    unary("flip", lambda rng, x: x.flip(_dim(rng, x))),
    unary("cat", lambda rng, x: torch.cat([x, x], _dim(rng, x))),
    unary("masked_fill", lambda rng, x: x.masked_fill(x > 0, 2.0)),
    unary("to int", lambda rng, x: (x > 0).to(torch.int64)),
    unary("max of a dimension", lambda rng, x: x.max(_dim(rng, x)).values),
    unary("argmin", lambda rng, x: x.argmin(-1)),
    unary("full_like", lambda rng, x: torch.full_like(x, 0.25)),
    unary("threshold", lambda rng, x: F.threshold(x, 0.5, 0.0)),
]


def numbers(rng, members, shape, dtype):
    """Ordinary numbers, among them all kinds of special ones."""
    generator = torch.Generator().manual_seed(rng.randrange(2**31))
    x = torch.randn(members, *shape, generator=generator, dtype=torch.float64).to(dtype)
    chance = torch.rand(x.shape, generator=generator)
    for i, special in enumerate((0.0, -0.0, 1.0, torch.inf, -torch.inf, torch.nan)):
        x = torch.where((chance >= 0.03 * i) & (chance < 0.03 * (i + 1)), torch.tensor(special, dtype=dtype), x)
    return x


def draw(seed, members):
    """Inputs of a random program for `members`, the program `tensors -> values`, names of its operations."""
    rng = random.Random(seed)
    w = rng.choice(WIDTHS)
    dtype = rng.choice((torch.float32, torch.float64))
    other = rng.choice((dtype, dtype, dtype, torch.float32, torch.float64))
    shapes = [(w,), (2, w), (w, 3), (1, w)]
    first = rng.choice(shapes)
    second = rng.choice([s for s in shapes if len(s) == len(first)])
    kinds = [(first, dtype), (second, other), ((), torch.float64)]
    inputs = [numbers(rng, members, *kind) for kind in kinds]
    plan, count = rng.randrange(2**31), rng.randrange(2, 10)
    names = []

    def program(*tensors):
        """The same choices at every call, made by a generator of its own."""
        own = random.Random(plan)
        pool = [Tracked(t) for t in tensors]
        names.clear()
        results = []
        for _ in range(200):
            if len(results) == count:
                break
            name, operation = own.choice(NEARBY if own.random() < NEIGHBOURS else DOCUMENTED)
            try:
                one = operation(own, [p for p in pool if p.scale is None])
            except NOT_OF_THESE:
                continue
            if one is not None:
                pool.append(one)
                results.append(one)
                names.append(name)
        return results

    return inputs, program, names
