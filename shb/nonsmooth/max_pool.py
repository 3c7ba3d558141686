"""Max-pooling with a parameter b that scales its Jacobian at ties (Boustany, TMLR 2024; theory.md E9, CL36).

    y = b m(x) + (1 - b) p(x),    m = p = maximum of a window

m backpropagates equal shares to all maxima of a window (the element of least norm of the Clarke subdifferential), p
everything to the first one. Without a tie both do the same and b has no effect over the real numbers. At a tie of n
maxima with upstream gradient u the first gets (1 - b + b/n) u and each other (b/n) u: still an element of a
conservative gradient, but outside the Clarke subdifferential for b outside [0, 1] and growing with abs(b).

In floating point b does have an effect without ties, because the published form, kept here, rounds: y differs from
the maximum by about abs(b) eps relative to it, and so does the gradient. y is not finite where b x overflows
(b = 1e3 in fp16: from abs(x) = 66 on). b = 0 is `F.max_pool2d` itself, bit for bit.

Three other forms tell that rounding from the Jacobian at ties:

    published    b m + (1 - b) p     value and gradient round
    difference   p + b (m - p)       the value is exactly the maximum; the gradient rounds as before
    ties         the form difference in windows with a tie, p elsewhere: b acts at ties only, nothing rounds
    rounding     p in windows with a tie, the form published elsewhere: b rounds only, the Jacobian at ties is that of p
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shb.errors import ConfigurationError, choose

FORMS = ("published", "difference", "ties", "rounding")


def check_beta(beta: float) -> float:
    """Return b if it is a finite number, else raise."""
    if not math.isfinite(beta):
        raise ConfigurationError("model.pool_beta", beta, "a finite number (0 is ordinary max-pooling)")
    return float(beta)


def _windows(x: Tensor, kernel: int) -> Tensor:
    """[..., rows, kernel, columns, kernel]; what fills no window is dropped, as in `F.max_pool2d`."""
    height, width = (size // kernel for size in x.shape[-2:])
    x = x[..., : height * kernel, : width * kernel]
    return x.reshape(*x.shape[:-2], height, kernel, width, kernel)


def even_max_pool2d(x: Tensor, kernel: int) -> Tensor:
    """Max-pooling of `x` [..., height, width], window and stride `kernel`; at ties all maxima get equal shares."""
    return _windows(x, kernel).amax(dim=(-3, -1))


def beta_max_pool2d(x: Tensor, kernel: int, beta: float = 0.0, form: str = "published") -> Tensor:
    """b m(x) + (1 - b) p(x): max-pooling whose Jacobian at ties is scaled by b (Boustany, TMLR 2024).

    m gives equal shares of a gradient to all maxima of a window, p all of it to the first one.

    Args:
        x: [n, channels, height, width].
        kernel: window and stride, >= 1; rows and columns that fill no window are dropped.
        beta: b; 0 is `torch.nn.functional.max_pool2d` itself, bit for bit.
        form: "published", "difference", "ties" or "rounding": where b acts, at ties or by rounding
            (`shb.nonsmooth.max_pool`).

    Returns:
        [n, channels, height // kernel, width // kernel].

    Raises:
        ConfigurationError: an unknown form, of a beta that is not 0.

    Example:
        >>> x = torch.ones(1, 1, 2, 2, requires_grad=True)  # a tie of four
        >>> [torch.autograd.grad(beta_max_pool2d(x, 2, b).sum(), x)[0].flatten().tolist() for b in (0.0, 1.0)]
        [[1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]]
    """
    first = F.max_pool2d(x, kernel)
    if beta == 0.0:
        return first
    even = even_max_pool2d(x, kernel)
    published = choose("model.pool_form", form, FORMS) in ("published", "rounding")
    either = beta * even + (1 - beta) * first if published else first + beta * (even - first)
    if form in ("published", "difference"):
        return either
    tie = (_windows(x, kernel) == first[..., :, None, :, None]).sum(dim=(-3, -1)) > 1
    return torch.where(tie, first, either) if form == "rounding" else torch.where(tie, either, first)


class BetaMaxPool2d(nn.Module):
    """`beta_max_pool2d` as a layer: [n, channels, height, width] -> [n, channels, height // kernel, width // kernel].

    Args:
        kernel, beta, form: as in `beta_max_pool2d`.

    Raises:
        ConfigurationError: a beta that is not finite, or an unknown form.
    """

    def __init__(self, kernel: int = 2, beta: float = 0.0, form: str = "published") -> None:
        super().__init__()
        self.kernel, self.beta, self.form = kernel, check_beta(beta), choose("model.pool_form", form, FORMS)

    def forward(self, x: Tensor) -> Tensor:
        return beta_max_pool2d(x, self.kernel, self.beta, self.form)
