"""Operations that only change how elements are indexed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import fx

from shb.kernels.instructions import Unsupported, View
from shb.kernels.nodes import value_of
from shb.kernels.recording.base import Base


class Views(Base):
    """No instruction is recorded, but where a view needs another order of its elements."""

    def _view(self, node: fx.Node, x: View, shape: Sequence[int]) -> View:
        shape = list(value_of(node).shape)
        lead = x.lead
        if lead != "none":
            if not shape or shape[0] % self.width:
                raise Unsupported("a view that mixes members")
            lead = "members" if shape[0] == self.width else "merged"
            shape = shape[1:] if lead == "members" else [shape[0] // self.width, *shape[1:]]
        try:
            return View(x.value, x.meta.view(shape), lead)
        except RuntimeError:
            x = self._copied(x)
            return View(x.value, x.meta.view(shape), lead)

    def _permute(self, node: fx.Node, x: View, dims: list[int]) -> View:
        if x.lead == "none":
            return View(x.value, x.meta.permute(dims), "none")
        if dims[0] != 0:
            raise Unsupported("members that do not come first")
        rest = [self._dim(x, d, len(dims)) for d in dims[1:]]
        return View(x.value, x.meta.permute(rest if x.lead == "members" else [0, *rest]), x.lead)

    def _transpose(self, node: fx.Node, x: View, a: int, b: int) -> View:
        a, b = (self._dim(x, d, self._ndim(x)) for d in (a, b))
        return View(x.value, x.meta.transpose(a, b), x.lead)

    def _unsqueeze(self, node: fx.Node, x: View, dim: int) -> View:
        return View(x.value, x.meta.unsqueeze(self._dim(x, dim, self._ndim(x) + 1)), x.lead)

    def _squeeze(self, node: fx.Node, x: View, dims: Sequence[int]) -> View:
        dims = [dims] if isinstance(dims, int) else dims
        return View(x.value, x.meta.squeeze([self._dim(x, d, self._ndim(x)) for d in dims]), x.lead)

    def _select(self, node: fx.Node, x: View, dim: int, index: int) -> View:
        return View(x.value, x.meta.select(self._dim(x, dim, self._ndim(x)), index), x.lead)

    def _unbind(self, node: fx.Node, x: View, dim: int = 0) -> list[View]:
        dim = self._dim(x, dim, self._ndim(x))
        return [View(x.value, one, x.lead) for one in x.meta.unbind(dim)]

    def _expand(self, node: fx.Node, x: View, sizes: Sequence[int]) -> View:
        shape = value_of(node).shape
        return self._spread(x, shape, "members" if shape[0] == self.width and x.lead != "merged" else x.lead)

    def _alias(self, node: fx.Node, x: View) -> View:
        return x

    def _getitem(self, node: fx.Node, x: list, index: int) -> Any:
        return x[index]

    def _clone(self, node: fx.Node, x: View, memory_format: Any = None) -> View:
        return x  # values are never written twice, and what needs an order asks for it
