"""The columns of what is stored (docs/results.md), and their version."""

from __future__ import annotations

from typing import Any

import polars as pl

from shb.schedules import SCHEDULES

SCHEMA_VERSION = 2

METRICS = (
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "test_loss",
    "test_accuracy",
    "clarke_distance",
    "artificial_distance",
    "touched",
    "trapped",
)
CURVE_METRICS = ("batch_loss", *METRICS)  # of a curve, beside its steps
_HYPERPARAMETERS = ("lr", "momentum", "dampening", "beta1", "beta2", "eps")
_SCHEDULE_PARAMETERS = (
    *(f"schedule_{name}" for schedule in SCHEDULES.values() for name in schedule.parameters),
    *(f"momentum_schedule_{name}" for schedule in SCHEDULES.values() for name in schedule.parameters),
    "momentum_schedule_r",
)
_ENVIRONMENT = {  # bench/store/environment.py
    "code_commit": pl.String,
    "code_dirty": pl.Boolean,
    "python": pl.String,
    "torch": pl.String,
    "platform": pl.String,
    "cpu": pl.String,
    "device_name": pl.String,
    "threads": pl.Int64,
}

MEMBER_SCHEMA: dict[str, Any] = {
    "member_id": pl.String,
    "problem": pl.String,
    "model": pl.String,
    "dataset": pl.String,
    "optimizer": pl.String,
    "seed": pl.Int64,
    "status": pl.String,
    "diverged_step": pl.Int64,
    "error": pl.String,
    "steps": pl.Int64,
    "batch_size": pl.Int64,
    **dict.fromkeys(_HYPERPARAMETERS, pl.Float64),
    "schedule": pl.String,
    "momentum_schedule": pl.String,
    **dict.fromkeys(_SCHEDULE_PARAMETERS, pl.Float64),
    "velocity_std": pl.Float64,
    "unstable_momentum": pl.Boolean,
    "init": pl.String,
    "init_std": pl.Float64,
    "init_value": pl.Float64,
    "loss": pl.String,
    "sampling": pl.String,
    "relu_derivative": pl.Float64,
    "relu_rule": pl.String,
    "dtype": pl.String,
    "device": pl.String,
    "engine": pl.String,
    **dict.fromkeys(METRICS, pl.Float64),
    "hyperparameters": pl.String,
    "spec": pl.String,
    "dataset_checksum": pl.String,
    **_ENVIRONMENT,
    "stack_members": pl.Int64,
    "stack_seconds": pl.Float64,
    "compile_seconds": pl.Float64,
    "member_steps_per_second": pl.Float64,
    "created": pl.String,
    "schema_version": pl.Int64,
}
CURVE_SCHEMA: dict[str, Any] = {
    "member_id": pl.String,
    "step": pl.Int64,
    "batch_loss": pl.Float64,
    **dict.fromkeys(METRICS, pl.Float64),
    "schema_version": pl.Int64,
}
RENAMED_IN_2 = {"relu_at_zero": "relu_derivative", "distance_to_clarke": "clarke_distance", "at_artificial": "trapped"}
ENSEMBLE_SCHEMA: dict[str, Any] = {  # one row per ensemble and column
    "ensemble_id": pl.String,
    "measure": pl.String,
    "spec": pl.String,
    "seed_start": pl.Int64,
    "seed_stop": pl.Int64,
    "column": pl.String,
    "width": pl.Int64,
    "values": pl.List(pl.Float64),
    "seconds": pl.Float64,
    **_ENVIRONMENT,
    "created": pl.String,
    "schema_version": pl.Int64,
}
PLAN_SCHEMA: dict[str, Any] = {  # one row per trial, and per evaluation, of one pair of a suite
    "suite": pl.String,
    "suite_version": pl.Int64,
    "content": pl.String,
    "changes": pl.List(pl.String),
    "trials": pl.Int64,
    "tuning_seeds": pl.Int64,
    "evaluation_seeds": pl.Int64,
    "count": pl.Int64,
    "position": pl.Int64,
    "problem": pl.String,
    "optimizer": pl.String,
    "score": pl.String,
    "target_metric": pl.String,
    "target_value": pl.Float64,
    "space": pl.String,
    "engine": pl.String,
    "device": pl.String,
    "setting": pl.String,
    "tuning": pl.String,
    "phase": pl.String,
    "trial": pl.Int64,
    "hyperparameters": pl.String,
    "member_ids": pl.List(pl.String),
    "code_commit": pl.String,
    "code_dirty": pl.Boolean,
    "created": pl.String,
    "schema_version": pl.Int64,
}
SCHEMAS = {"members": MEMBER_SCHEMA, "curves": CURVE_SCHEMA, "ensembles": ENSEMBLE_SCHEMA, "plans": PLAN_SCHEMA}
