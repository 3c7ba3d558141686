"""CL52: parts on made-up columns whose truth is known; the measure that tunes before it runs."""

import numpy as np
import pytest

from bench.claims.catalogue import CLAIMS
from bench.claims.claim import Protocol
from bench.claims.experiment import MEASURES
from bench.claims.practice import rules, tuned
from bench.claims.trajectories import run as run_trajectories
from bench.claims.trajectories import trajectories
from tests.bench.claims.synthetic import verdicts_of

RNG = np.random.default_rng(52)
N = 600
SIZES = {"networks": {"a": []}, "schedule_networks": {"b": []}, "steps": 500, "tuning_seeds": 2}


def columns(accuracy=0.97, loss=1.0, tuning=1.0, n=N):
    common = np.random.default_rng(1).normal(0, 0.005, n)
    return {
        "test_accuracy": accuracy + common + RNG.normal(0, 0.003, n),
        "objective": loss * np.exp(10 * common + RNG.normal(0, 0.02, n)),
        "lr": np.full(n, 0.1),
        "tuning_loss": np.full(n, tuning),
    }


def world(**changes):
    found = {
        "a random": columns(),
        "a zero bias": columns(),
        "a identity": columns(),
        "a zeros": columns(0.08, n=60),
        "b cosine": columns(loss=0.97),
        "b linear": columns(loss=0.95),
        "b constant": columns(loss=1.1),
    }
    for q, tuning in zip(rules.POWERS, (1.0, 1.2, 1.4)):
        found |= {f"b power {q}": columns(loss=tuning, tuning=tuning), f"b small power {q}": columns(loss=2.0)}
    return found | changes


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"CL52a": "SUPPORTED", "CL52b": "SUPPORTED", "CL52c": "SUPPORTED"}),
        ({"a zero bias": columns(0.96)}, {"CL52a": "REFUTED", "CL52b": "SUPPORTED", "CL52c": "SUPPORTED"}),
        ({"a identity": columns(0.98)}, {"CL52a": "SUPPORTED", "CL52b": "REFUTED", "CL52c": "SUPPORTED"}),
        ({"b cosine": columns(loss=1.05)}, {"CL52a": "SUPPORTED", "CL52b": "SUPPORTED", "CL52c": "REFUTED"}),
        ({"a zeros": columns(n=60)}, {"CL52a": "VOID", "CL52b": "VOID", "CL52c": "SUPPORTED"}),
        # another power is the best one in the tuning: the cosine is compared with that
        (
            {"b power 0.9": columns(loss=0.9, tuning=0.5)},
            {"CL52a": "SUPPORTED", "CL52b": "SUPPORTED", "CL52c": "REFUTED"},
        ),
    ],
)
def test_verdicts_follow_the_columns(changes, expected):
    assert {part: verdict for part, (verdict, _) in verdicts_of("CL52", SIZES, world(**changes)).items()} == expected


def test_absent_data_put_the_claim_out_of_scope():
    found = {name: one for name, one in world().items() if name.startswith("a")}
    (part,) = CLAIMS["CL52"].parts(Protocol("full", SIZES), found)
    assert part.id == "CL52" and "absent, for b" in part.out_of_scope


def test_every_schedule_is_tuned_over_the_same_first_steps():
    protocol = Protocol("quick", {"lrs": {"low": 0.01, "high": 1.0, "count": 3}})
    assert rules.step_sizes(protocol) == [0.01, 0.1, 1.0]
    scaled = np.array(rules.step_sizes(protocol, 11**-0.75)) * 11**-0.75
    assert scaled == pytest.approx([0.01, 0.1, 1.0], rel=1e-3)


CELL = {"problem": "e1", "optimizer": "sgd", "schedule": "power", "steps": 200}


def test_tuned_runs_are_trajectories_at_the_best_step_of_other_seeds():
    one = tuned.tuned(CELL, lrs=[1e-4, 0.3, 50.0], tuning_seeds=40, first_tuning_seed=900, seeds=3)
    found = MEASURES["tuned"].function(one.settings, np.arange(3))
    alone = run_trajectories(trajectories({**CELL, "optimizer.lr": 0.3}, seeds=3).settings, np.arange(3))
    assert (found["lr"] == 0.3).all() and found["objective"].tolist() == alone["objective"].tolist()
    tuning = run_trajectories(trajectories({**CELL, "optimizer.lr": 0.3}, seeds=1).settings, np.arange(900, 940))
    assert found["tuning_loss"] == pytest.approx(tuning["objective"].mean())


def test_the_scaled_control_runs_at_a_fraction_of_the_best_step():
    one = tuned.tuned(CELL, lrs=[0.3], tuning_seeds=2, first_tuning_seed=900, scale=0.1, seeds=2)
    found = MEASURES["tuned"].function(one.settings, np.arange(2))
    assert found["lr"] == pytest.approx(0.03)
    assert one.settings != tuned.tuned(CELL, lrs=[0.3], tuning_seeds=2, first_tuning_seed=900, seeds=2).settings


def test_a_diverged_trial_is_never_the_best():
    quartic = {"problem": "quartic", "optimizer": "sgd", "init": "point", "init.value": 10.0, "steps": 20}
    one = tuned.tuned(quartic, lrs=[10.0, 1e-3], tuning_seeds=2, first_tuning_seed=900, seeds=1)
    assert MEASURES["tuned"].function(one.settings, np.arange(1))["lr"] == 1e-3
