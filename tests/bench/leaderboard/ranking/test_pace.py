"""Times are ratios within one machine, or nothing."""

import polars as pl
import pytest

from bench.leaderboard.ranking.pace import MACHINE, time_ratios


def members(rates, **machine):
    same = {**dict.fromkeys(MACHINE, "same"), **machine}
    return pl.DataFrame(
        {**{name: [value] * len(rates) for name, value in same.items()}, "member_steps_per_second": rates}
    )


def test_seconds_per_step_over_those_of_the_fastest():
    ratios = time_ratios({"x": members([100.0, 50.0]), "y": members([200.0, 200.0])})
    assert ratios == {"x": pytest.approx((1 / 100 + 1 / 50) / (2 / 200)), "y": 1.0}


@pytest.mark.parametrize("name", MACHINE)
def test_machines_are_not_compared(name):
    assert time_ratios({"x": members([100.0]), "y": members([200.0], **{name: "other"})}) is None
    assert time_ratios({"x": pl.concat([members([1.0]), members([1.0], **{name: "other"})])}) is None


def test_what_is_not_stored_has_no_time():
    assert time_ratios({"x": members([100.0]), "y": members([200.0]).clear()}) is None
    unknown = members([200.0]).with_columns(pl.lit(None, dtype=pl.Float64).alias("member_steps_per_second"))
    assert time_ratios({"x": members([100.0]), "y": unknown}) is None
