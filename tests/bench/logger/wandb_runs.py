"""W&B runs of the tests: how a cell is logged offline, and what its run file holds."""

import json
import struct

from bench.cell.groups import LoggerConfig
from bench.logger.logger import make_logger
from bench.logger.wandb_logger import wandb

SETTINGS = {
    "name": "wandb",
    "project": "tests",
    "entity": None,
    "mode": "offline",
    "per_seed": False,
    "tuning": False,
}
CLASSES = ["model.hidden=[4]", "steps=20", "evaluations=4", "seeds=3", "device=cpu"]
REGRESSION = [*CLASSES, "dataset=diabetes", "optimizer=sgd", "optimizer.lr=[0.01,1e6]"]  # the second one diverges


def log(folder, cell, store, role="cell", **settings):
    """Log a cell below `folder`; returns the warnings."""
    warnings = []
    logger = make_logger(LoggerConfig.of({**SETTINGS, "dir": str(folder), **settings}), warnings.append)
    logger.cell(cell, store.members(), store.curves(cell.ids), role=role)
    logger.close()
    return warnings


def records(path):
    """Records of a .wandb file: 7 bytes of header, then LevelDB's log format in blocks of 32 KiB."""
    data, position, text = path.read_bytes(), 7, b""
    assert data.startswith(b":W&B")
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, size, kind = struct.unpack("<IHB", data[position : position + 7])
        text += data[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):  # full, last
            record = wandb.proto.wandb_internal_pb2.Record()
            record.ParseFromString(text)
            text = b""
            yield record


def read_run(path):
    """What a run file holds: group, job_type, name, config, history (rows), summary, step metrics."""
    run = {"path": path, "config": {}, "history": [], "summary": {}, "step_of": {}}
    for record in records(path):
        if record.HasField("run"):
            run |= {"group": record.run.run_group, "job_type": record.run.job_type, "id": record.run.run_id}
            run |= {"project": record.run.project, "name": record.run.display_name}
            run["config"] |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        for item in record.summary.update:
            run["summary"][item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
        if record.HasField("metric"):
            run["step_of"][record.metric.name or record.metric.glob_name] = record.metric.step_metric
        if record.HasField("history"):
            row = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
            run["history"].append({name: json.loads(v) for name, v in row.items() if not name.startswith("_")})
    return run


def read_runs(folder):
    """All offline runs below `folder`, by name."""
    wandb.teardown()  # its service writes the files: once it has ended, they are complete
    runs = [read_run(path) for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"))]
    named = {run["name"]: run for run in runs}
    assert len(named) == len(runs)
    return named


def no_init(*args, **kwargs):
    """Stands in for `wandb.init` where no run may start."""
    raise AssertionError("wandb.init was called")
