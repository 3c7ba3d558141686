"""Recording a traced program on a tape: what each of torch's operations is there."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence

from torch import fx

from shb.kernels.instructions import Output, Unsupported, Value, View
from shb.kernels.nodes import operands, value_of
from shb.kernels.recording.base import meta_of
from shb.kernels.recording.images import Images
from shb.kernels.recording.reductions import Reductions
from shb.kernels.recording.table import FUNCTIONS, METHODS
from shb.kernels.recording.views import Views
from shb.kernels.tape import Tape

_LOG = logging.getLogger(__name__)
STRICT = "SHB_STRICT"  # environment: an error of the recorder is raised, as in the tests


def record(module: fx.GraphModule, width: int) -> Tape:
    """The tape of a traced program, on a CPU.

    Args:
        module: as make_fx gives it: its nodes must know their values.
        width: members of the trace: an input with this first size belongs to members. The tape holds for any number.

    Raises:
        Unsupported: with the operation that a tape does not have. An error of the recorder becomes one, and a
            warning, so that the program runs operation by operation; with `STRICT` in the environment it is raised.
    """
    try:
        recorder = Recorder(module, width)
        for node in module.graph.nodes:
            recorder.record(node)
        return recorder.tape()
    except Unsupported:
        raise
    except Exception as error:
        if os.environ.get(STRICT):
            raise
        text = f"an error of the recorder, please report it ({type(error).__name__}: {error})"
        _LOG.warning("a program is no tape: %s", text)
        raise Unsupported(text) from error


class Recorder(Views, Reductions, Images):
    """Goes through a graph node by node."""

    def tape(self) -> Tape:
        """What was recorded; Unsupported if nothing in it belongs to a member."""
        if all(value.slot != "input" for value in self.inputs):
            raise Unsupported("a program without members")
        return Tape(self.instructions, self.outputs, self.fixed, list(self.inputs), self.block)

    def record(self, node: fx.Node) -> None:
        """Put one node on the tape."""
        if node.op == "placeholder":
            self.values[node] = self._input(node)
        elif node.op == "get_attr":
            self.values[node] = self._fixed(getattr(self.module, str(node.target)))
        elif node.op == "output":
            self._results(operands(node, 0))
        else:
            if node.target in FUNCTIONS:
                self.values[node] = self._function(node, FUNCTIONS[node.target])
            elif node.target in METHODS:
                method = getattr(self, METHODS[node.target])
                self.values[node] = method(node, *map(self._known, node.args), **node.kwargs)
            else:
                raise Unsupported(str(node.target))

    def _input(self, node: fx.Node) -> View:
        value = value_of(node)
        of_members = value.ndim > 0 and value.shape[0] == self.width
        shape = value.shape[1:] if of_members else value.shape
        one = Value(value.dtype, math.prod(shape), "input" if of_members else "shared", len(self.inputs))
        self.inputs[one] = len(self.inputs)
        return View(one, meta_of(shape, value.dtype), "members" if of_members else "none")

    def _results(self, nodes: Sequence[fx.Node]) -> None:
        made = {value for one in self.instructions for value in one.results}
        count = 0
        for node in nodes:
            view = self.values[node]
            if view.value in self.inputs and node.op == "placeholder":
                self.outputs.append(Output(None, None, self.inputs[view.value]))
                continue
            if view.value.slot != "flag":
                if view.lead == "none":
                    raise Unsupported("a result that has no members")
                if not (view.value in made and view.value.slot == "scratch" and view.whole):
                    view = self._copied(view)
                view.value.slot = "output"
            view.value.place = count
            count += 1
            self.outputs.append(Output(view.value, view))
