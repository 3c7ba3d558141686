"""A leaderboard document with every section that the page knows, made from the present one by plain rules.

The ranks, intervals and p-values here are no statistics: they only have the shape of them.
"""

import json
import math

import polars as pl


def full_document(document, suite, store):
    """`document` with ranks, tie groups, profiles, aggregate, sensitivity and seeds needed."""
    rows = [dict(row) for row in document["rows"]]
    for problem in suite.problems:
        for metric in {row["metric"] for row in rows}:
            own = [row for row in rows if (row["problem"], row["metric"]) == (problem, metric)]
            sign = -1 if "accuracy" in metric else 1
            own.sort(key=lambda row: math.inf if row["median"] is None else sign * row["median"])
            for place, row in enumerate(own):
                group = place // 2  # pairs are tied; groups are counted from 1
                row |= {"tie_group": group + 1, "rank_low": 2 * group + 1, "rank_high": min(2 * group + 2, len(own))}
                row |= {"p_value_to_leader": None if place == 0 else min(1.0, 0.3 / place**3)}
                row |= {"iqm": row["median"], "iqm_low": row["ci_low"], "iqm_high": row["ci_high"]}
    tau = [1 + 0.1 * i for i in range(41)]
    profiles = []
    for i, optimizer in enumerate(suite.optimizers):
        share = [min(1.0, 0.2 * (1 + (i + j) // 8)) for j in range(len(tau))]
        profiles.append(
            {
                "optimizer": optimizer,
                "tau": tau,
                "share": share,
                "share_low": [max(0.0, s - 0.2) for s in share],
                "share_high": [min(1.0, s + 0.1) for s in share],
                "area": sum(share) / len(share),
                "area_low": 0.5,
                "area_high": 1.0,
            }
        )
    return {
        **document,
        "schema_version": 2,
        "rows": rows,
        "profiles": profiles,
        "aggregate": [
            {"optimizer": o, "score": 0.9 - 0.1 * i, "low": 0.8 - 0.1 * i, "high": 1 - 0.1 * i, "normalised": "0 to 1"}
            for i, o in enumerate(suite.optimizers)
        ],
        "sensitivity": sensitivity(suite, store),
        "seeds_needed": [
            {
                "problem": problem,
                "metric": rows[0]["metric"],
                "n_seeds": 4,
                "pair": list(suite.optimizers[:2]),
                "difference": 0.004,
                "spread": 0.01,
                "seeds": 52,
                "power": 0.8,
            }
            for problem in suite.problems
        ],
        "time_ratios": [{"problem": p, "ratios": dict.fromkeys(suite.optimizers, 1.0)} for p in suite.problems],
    }


def sensitivity(suite, store):
    """Median, smallest and largest training loss of the stored tuning runs, against lr and momentum."""
    members = store.members().filter(pl.col("status") != "failed")
    result = []
    for problem, optimizer in suite.pairs():
        own = members.filter(pl.col("member_id").is_in(list(suite.tuning_cell(problem, optimizer).ids)))
        settings = [json.loads(text) for text in own["hyperparameters"]]
        for against in ("lr", "momentum"):
            if not settings or against not in settings[0]:
                continue
            frame = own.with_columns(pl.Series("x", [setting[against] for setting in settings]))
            points = []
            for (x,), part in frame.group_by("x"):
                finite = sorted(part["train_loss"].drop_nulls())
                whole = len(finite) == len(part)
                points.append(
                    {
                        "x": x,
                        "median": finite[len(finite) // 2] if len(finite) > len(part) / 2 else None,
                        "low": finite[0] if finite else None,
                        "high": finite[-1] if whole else None,
                        "n": len(part),
                        "n_diverged": len(part) - len(finite),
                    }
                )
            result.append(
                {
                    "problem": problem,
                    "optimizer": optimizer,
                    "against": against,
                    "points": points,
                    "best_x": points[0]["x"],
                    "width_decades": 0.7,
                    "share_diverged": 0.1,
                }
            )
    return result
