"""Ensembles of claims in worker processes: the same numbers, each once, failures of one claim only."""

import json

import pytest

import bench.claims.__main__ as command
from bench.cell.config import ClaimsConfig, compose_as
from bench.claims.catalogue import CLAIMS
from bench.claims.experiment import Experiment
from bench.claims.workers import PARALLEL_SECONDS, plan, worker_count
from bench.command import run_command
from bench.store.store import Store
from shb.errors import ConfigurationError

SIZES = ("claim.quick.seeds=64", "claim.quick.steps=10", "figures=false")


@pytest.mark.slow
def test_worker_processes_give_the_same_numbers_and_a_failure_is_of_its_claim_only(tmp_path, capsys, monkeypatch):
    arguments = ["-m", "claim=CL25,CL28", *SIZES]
    assert run_command(command.main, [*arguments, f"results_dir={tmp_path / 'here'}"]) == 1  # so few decide nothing
    here = json.loads((tmp_path / "here" / "claims" / "claims.json").read_text())
    one = CLAIMS["CL25"]
    planned = dict(one.experiments(command.Protocol("quick", {"seeds": 64, "steps": 10})))
    settings = {**planned["sgd"].settings, "overrides": ["problem=e1", "optimizer=sgd", "optimizer.lr=-1", "steps=5"]}
    bad = {**planned, "shb": Experiment("trajectories", settings, 64)}
    with monkeypatch.context() as patch:
        patch.setitem(CLAIMS, "CL25", type(one)(**{**vars(one), "experiments": lambda _: bad}))
        capsys.readouterr()
        assert run_command(command.main, [*arguments, "workers=2", f"results_dir={tmp_path / 'there'}"]) == 1
    there = json.loads((tmp_path / "there" / "claims" / "claims.json").read_text())
    output = capsys.readouterr().out
    assert "2 worker processes" in output and "  CL25  " in output and "  CL28  " in output
    assert list(there["failures"]) == ["CL25"] and "failed: CL25: shb: ConfigurationError: optimizer.lr=-1" in output
    assert {entry["claim"] for entry in there["claims"]} == {"CL28"}
    # what is stored is not computed again: the others of CL25 went on, so one ensemble is left
    assert run_command(command.main, [*arguments, "workers=2", f"results_dir={tmp_path / 'there'}"]) == 1
    output = capsys.readouterr().out
    assert "1 ensembles to compute (6 of 7" in output and "worker processes" not in output
    there = json.loads((tmp_path / "there" / "claims" / "claims.json").read_text())
    assert there["claims"] == here["claims"]
    assert len(Store(tmp_path / "there").shards("ensembles")) == len(Store(tmp_path / "there").ensemble_ids()) == 7


def test_what_claims_share_is_computed_once_and_what_is_stored_not_again(tmp_path):
    short, long = (
        Experiment("trajectories", {"name": n}, seeds=5, chunk=2, seconds=s) for n, s in (("a", 1), ("b", 9))
    )
    store = Store(tmp_path)
    jobs = plan({"CL1": {"x": short}, "CL2": {"y": short, "z": long}}, store)
    assert [job.owners for job in jobs] == [(("CL2", "z"),)] * 3 + [(("CL2", "y"), ("CL1", "x"))] * 3
    assert [(one.first_seed, one.seeds) for one in (job.ensemble for job in jobs[:3])] == [(0, 2), (2, 2), (4, 1)]
    assert [job.ensemble.ensemble_id(*job.ensemble.blocks()[0]) for job in jobs[:3]] == [
        long.ensemble_id(*block) for block in long.blocks()
    ]
    assert sum(job.seconds for job in jobs) == pytest.approx(10)


def test_processes_are_started_where_that_pays():
    assert worker_count(None, 4, 99, PARALLEL_SECONDS + 1, "cpu") == 4
    assert worker_count(None, 4, 99, PARALLEL_SECONDS - 1, "cpu") == worker_count(None, 4, 99, 1e4, "cuda") == 1
    assert worker_count(3, 4, 99, 1.0, "cpu") == 3 and worker_count(3, 4, 2, 1.0, "cpu") == 2
    assert worker_count(3, 4, 0, 0.0, "cpu") == 1
    with pytest.raises(ConfigurationError, match="workers=0"):
        compose_as(ClaimsConfig, ["workers=0"])
