"""A data set is what `DATASETS` says of it, and the same whenever it is made."""

from __future__ import annotations

import torch

from bench.check.fault import Fault
from bench.check.subject import Subject
from shb.datasets import DATASETS, Split, load_dataset, loaded_anew


def check(subject: Subject) -> str:
    """What was seen; a Fault otherwise."""
    name = subject.cell.problem_spec["dataset"]
    facts, data = DATASETS[name], load_dataset(name, subject.cell.data_root)
    sizes = tuple(len(part.x) for part in (data.train, data.validation, data.test))
    for what, found, said in (
        ("task", data.task, facts.task),
        ("outputs", data.outputs, facts.outputs),
        ("feature_shape", data.feature_shape, tuple(facts.feature_shape)),
        ("sizes of its parts", sizes, (facts.train_size, facts.validation_size, facts.test_size)),
    ):
        if found != said:
            raise Fault(f"{what} {found}, but DATASETS says {said}", f"correct the facts of {name} in DATASETS")
    for part in ("train", "validation", "test"):
        _check_part(part, getattr(data, part), classes=data.task == "classification", outputs=data.outputs)
    again = data if facts.needs_files else loaded_anew(name)
    if again.checksum != data.checksum:
        cure = "a seed of its own for whatever its loader draws, also for the split: RandomState(0), permuted_split"
        raise Fault(f"{name} has another checksum when it is loaded again", cure)
    return f"{name}: {' + '.join(map(str, sizes))} samples of shape {list(data.feature_shape)}, as DATASETS says"


def _check_part(part: str, split: Split, *, classes: bool, outputs: int) -> None:
    x, y = split.x, split.y
    cure = "end the loader in build_dataset, which checks and casts"
    if not (x.dtype == torch.float32 or not x.is_floating_point()) or not x.isfinite().all():
        raise Fault(f"inputs of its {part} part: {x.dtype}, or not finite", f"finite float32 or whole numbers; {cure}")
    if classes and (y.dtype != torch.int64 or y.ndim != 1 or y.min() < 0 or y.max() >= outputs):
        raise Fault(f"labels of its {part} part: {y.dtype} {list(y.shape)}", f"int64 in 0 .. {outputs - 1}; {cure}")
    if not classes and (y.dtype != torch.float32 or y.shape[1:] != (outputs,) or not y.isfinite().all()):
        raise Fault(f"targets of its {part} part: {y.dtype} {list(y.shape)}", f"float32 [rows, {outputs}]; {cure}")
