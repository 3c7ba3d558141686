"""A publication: what others have measured, and how far the stored members of a suite differ from it.

conf/published/*.yaml hold what others have published, per seed, with its source and conditions, and name the suite that
runs under these conditions. Every number is compared by Welch's t interval of the difference of the means, measured
minus published; p-values are corrected by Holm over one publication. A pure function of the stored members.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from bench.plan.plan import SuitePlan
from bench.statistics.estimates import MeanDifference
from bench.statistics.inference import ALPHA, holm, p_zero
from bench.store.environment import CONF
from bench.store.schema import METRICS
from bench.store.store import Store, rows_of
from bench.store.yaml_file import read_yaml
from shb.errors import ConfigurationError, choose


@dataclass(frozen=True)
class Measurement:
    """One published number per optimizer and seed.

    Attributes:
        metric: column of the members, or "batch_loss" of the curve.
        step: row of the curve; None for a column of the members.
        published: where it is in the source.
        values: optimizer -> one value per published seed (at least 2).
    """

    metric: str
    published: str
    values: Mapping[str, Sequence[float]]
    step: int | None = None

    @property
    def label(self) -> str:
        """The metric in words."""
        words = self.metric.replace("_", " ")
        return words if self.step is None else f"{words} to step {self.step}"


@dataclass(frozen=True)
class Publication:
    """A file of conf/published."""

    name: str
    title: str
    suite: str
    problem: str
    source: Mapping[str, str]
    conditions: Mapping[str, str]
    optimizers: Mapping[str, Mapping[str, Any]]
    measurements: Sequence[Measurement]


def publications() -> list[str]:
    """Names of the files of conf/published."""
    return sorted(path.stem for path in (CONF / "published").glob("*.yaml"))


def load_publication(name: str) -> Publication:
    """Read conf/published/`name`.yaml.

    Raises:
        ConfigurationError: unknown name, metric or optimizer, or fewer than two seeds.
    """
    choose("published", name, publications())
    raw = read_yaml(CONF / "published" / f"{name}.yaml")
    measurements = [Measurement(**entry) for entry in raw.pop("measurements")]
    for one in measurements:
        choose(f"measurements.metric of {name}", one.metric, METRICS if one.step is None else ("batch_loss",))
        for optimizer, values in one.values.items():
            choose(f"measurements of {name}", optimizer, raw["optimizers"])
            if len(values) < 2:
                raise ConfigurationError(f"{one.label} of {optimizer}", values, "one value per seed, at least two")
    return Publication(**raw, measurements=measurements)


def published_rows(publication: Publication, plan: SuitePlan, store: Store) -> list[dict[str, Any]]:
    """One row per measurement and optimizer: both samples, their difference, its interval and the verdict.

    Numbers are None where fewer than two seeds are stored or one of them diverged: such rows have no verdict on the
    size of a difference, and do not count among the comparisons.
    """
    members = store.members().filter(pl.col("status") != "failed")
    rows = []
    for measurement in publication.measurements:
        for optimizer, values in measurement.values.items():
            ids = plan.pair(publication.problem, optimizer).evaluation_ids(members)
            evaluated = rows_of(members, ids)
            rows.append(_row(measurement, optimizer, values, evaluated, store, plan.evaluation_seeds))
    judged = [row for row in rows if row["p_value"] is not None]
    for row, p in zip(judged, holm([row["p_value"] for row in judged])):
        row["p_holm"] = float(p)
    for row in rows:
        row["verdict"] = _verdict(row)
    return rows


def _row(
    measurement: Measurement,
    optimizer: str,
    values: Sequence[float],
    seeds: pl.DataFrame,
    store: Store,
    planned: int,
) -> dict[str, Any]:
    published = np.asarray(values, dtype=np.float64)
    measured = _measured(measurement, seeds, store)
    row = {
        "label": measurement.label,
        "metric": measurement.metric,
        "step": measurement.step,
        "optimizer": optimizer,
        "published_mean": float(published.mean()),
        "published_sd": float(published.std(ddof=1)),
        "published_n": len(published),
        "measured_mean": None,
        "measured_sd": None,
        "measured_n": len(seeds),
        "planned_n": planned,
        "n_diverged": int((seeds["status"] == "diverged").sum()),
        **dict.fromkeys(("difference", "ci_low", "ci_high", "p_value", "p_holm")),
    }
    if len(measured) < 2 or len(measured) < len(seeds):
        return row
    difference = MeanDifference(measured, published)
    low, high = difference.interval()
    return row | {
        "measured_mean": float(measured.mean()),
        "measured_sd": float(measured.std(ddof=1)),
        "difference": difference.value,
        "ci_low": low,
        "ci_high": high,
        "p_value": p_zero(difference),
    }


def _measured(measurement: Measurement, seeds: pl.DataFrame, store: Store) -> np.ndarray:
    """The finite values of the stored seeds, in any order."""
    if measurement.step is None:
        values = seeds[measurement.metric]
    else:
        curves = store.curves(seeds["member_id"].to_list())
        values = curves.filter(pl.col("step") == measurement.step)[measurement.metric]
    values = values.drop_nulls().to_numpy().astype(np.float64)
    return values[np.isfinite(values)]


def _verdict(row: Mapping[str, Any]) -> str:
    """In words: whether a difference is seen among all rows, and how large it is in published standard deviations."""
    if row["n_diverged"]:
        return f"{row['n_diverged']} of {row['measured_n']} diverged"
    if row["p_value"] is None:
        return f"not measured ({row['measured_n']} of {row['planned_n']} seeds)"
    partial = "" if row["measured_n"] == row["planned_n"] else f", {row['measured_n']} of {row['planned_n']} seeds"
    size = (
        f"{abs(row['difference']) / row['published_sd']:.1f} sd"
        if row["published_sd"]
        else f"{abs(row['difference']):.3g}"
    )
    if row["p_holm"] < ALPHA:
        return f"differs: {'higher' if row['difference'] > 0 else 'lower'} by {size}{partial}"
    return f"agrees ({size}){partial}"
