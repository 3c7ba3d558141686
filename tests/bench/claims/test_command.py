"""`python -m bench.claims`: selection, exit codes, files, bad input, absent data, failures, resuming."""

import json

import pytest

import bench.claims.__main__ as command
from bench.cell.config import CONF, ClaimsConfig, compose_as
from bench.claims.catalogue import CLAIMS, number
from bench.claims.claim import FAMILIES, LEVELS
from bench.claims.expectations import expectations
from bench.claims.sampling import networks
from bench.claims.trajectories import cell_of
from bench.command import run_command
from bench.store.store import Store

SMALL = ["claim.quick.seeds=300", "claim.quick.steps=10", "figures=false"]
FIXED_FIELDS = {
    *("id", "title", "source", "predicted", "measured", "ci_low", "ci_high", "n", "control", "control_fired"),
    "verdict",
}


@pytest.fixture
def claims(tmp_path, capsys):
    """Runs the command into tmp_path / "results": (exit code, claims.json or None, output)."""

    def run(*arguments):
        code = run_command(command.main, [*arguments, f"results_dir={tmp_path / 'results'}"])
        path = tmp_path / "results" / "claims" / "claims.json"
        return code, json.loads(path.read_text()) if path.exists() else None, capsys.readouterr()

    return run


def test_one_claim_writes_its_entries_with_the_fixed_fields(claims, tmp_path):
    code, report, output = claims("claim=CL25", "level=quick", *SMALL)
    assert [entry["id"] for entry in report["claims"]] == ["CL25a", "CL25b", "CL25c"]
    assert report["schema_version"] == 1 and report["level"] == "quick"
    for entry in report["claims"]:
        assert entry.keys() >= FIXED_FIELDS
        assert entry["ci_low"] <= entry["measured"] <= entry["ci_high"] and entry["n"] == 300
        assert entry["control_fired"] is True
        assert entry["id"] in output.out
    # 300 runs are too few: the share's interval is wider than the resolution, and 0 of 300 is no bound of 0.001
    assert [entry["verdict"] for entry in report["claims"]] == ["INCONCLUSIVE"] * 3
    assert code == 1
    assert "CL25a unexpected: INCONCLUSIVE, expected SUPPORTED" in output.out
    markdown = (tmp_path / "results" / "claims" / "claims.md").read_text()
    assert all(entry["title"] in markdown for entry in report["claims"])


def test_exit_code_is_zero_when_every_verdict_is_expected(claims):
    code, report, _ = claims("claim=CL25", "claim.quick.steps=5", "figures=false")
    assert [entry["verdict"] for entry in report["claims"]] == ["SUPPORTED"] * 3
    assert code == 0


def test_a_repeated_run_computes_nothing_and_says_the_same(claims):
    _, first, _ = claims("claim=CL25", *SMALL)
    _, second, output = claims("claim=CL25", *SMALL)
    assert "0 ensembles to compute (3 of 3" in output.out
    assert second["claims"] == first["claims"]


def test_an_interrupted_run_goes_on_from_the_stored_ensembles(claims, tmp_path, monkeypatch):
    experiments = CLAIMS["CL25"].experiments

    def interrupted(protocol):
        found = dict(experiments(protocol))

        class Stop(type(found["shb"])):
            def compute(self, *arguments):
                raise KeyboardInterrupt

        found["shb"] = Stop(**vars(found["shb"]))
        return found

    with monkeypatch.context() as patch:
        patch.setitem(CLAIMS, "CL25", type(CLAIMS["CL25"])(**{**vars(CLAIMS["CL25"]), "experiments": interrupted}))
        assert claims("claim=CL25", *SMALL)[0] == 130
    assert len(Store(tmp_path / "results").ensemble_ids()) == 1
    _, report, output = claims("claim=CL25", *SMALL)
    assert "2 ensembles to compute (1 of 3" in output.out
    assert len(report["claims"]) == 3


def test_a_glob_selects_several(claims):
    sizes = ["claim.quick.seeds=64", "claim.quick.steps=10", "+claim.quick.control_seeds=64", "figures=false"]
    _, report, _ = claims("-m", "claim=CL25,CL27", *[s for s in sizes if "control" not in s])
    assert {entry["claim"] for entry in report["claims"]} == {"CL25", "CL27"}
    selected = command._selected(["-m", "claim=glob(CL2*)"])[1]
    assert list(selected) == [claim for claim in CLAIMS if claim.startswith("CL2")]


def test_without_a_claim_all_are_selected():
    config, selected = command._selected([])
    assert list(selected) == list(CLAIMS)
    assert (config.level, config.results_dir) == ("quick", "results/local")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["claim=CL99"], "error: claim=CL99: allowed is one of"),
        (["claim=cl25"], "did you mean CL25?"),
        (["level=slow"], "error: level=slow: allowed is one of full, quick"),
        (["levle=full"], "did you mean level?"),
        (["claim=CL25", "claim.quick.seds=3"], "claim.quick.seds"),
        (["device=tpu"], "error: device=tpu"),
        (["-x"], "error: option=-x: allowed is -m"),
        (["threads=two"], "error: threads=two: allowed is a whole number or null"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(claims, tmp_path, arguments, line):
    code, report, output = claims(*arguments)
    assert code == 2
    assert report is None
    assert len(output.err.strip().splitlines()) == 1
    assert line in output.err
    assert not (tmp_path / "results").exists()


def test_a_claim_whose_data_are_absent_is_out_of_scope_and_the_others_run(claims, monkeypatch, tmp_path):
    monkeypatch.setenv("SHB_DATA", str(tmp_path / "nothing"))
    with_data = type(CLAIMS["CL25"])(**{**vars(CLAIMS["CL25"]), "datasets": ("mnist",)})
    monkeypatch.setitem(CLAIMS, "CL25", with_data)
    code, report, _ = claims("-m", "claim=CL25,CL28", *SMALL)
    own = [entry for entry in report["claims"] if entry["claim"] == "CL25"]
    assert [(entry["id"], entry["verdict"]) for entry in own] == [("CL25", "OUT-OF-SCOPE")]
    assert "mnist" in own[0]["reason"] and own[0]["measured"] is None
    assert len([entry for entry in report["claims"] if entry["claim"] == "CL28"]) == 3
    assert code == 1


def test_a_failing_experiment_is_reported_and_the_others_run(claims, monkeypatch):
    one = CLAIMS["CL25"]
    wrong = dict(one.experiments(command.Protocol("quick", {"seeds": 9, "steps": 5})))
    settings = {**wrong["sgd"].settings, "overrides": ["problem=e1", "optimizer=sgd", "optimizer.lr=-1", "steps=5"]}
    bad = type(wrong["sgd"])("trajectories", settings, 9)
    monkeypatch.setitem(
        CLAIMS, "CL25", type(one)(**{**vars(one), "experiments": lambda protocol: {**wrong, "shb": bad}})
    )
    code, report, output = claims("-m", "claim=CL25,CL28", *SMALL)
    assert code == 1
    assert list(report["failures"]) == ["CL25"]
    assert "failed: CL25: shb: ConfigurationError: optimizer.lr=-1" in output.out
    assert {entry["claim"] for entry in report["claims"]} == {"CL28"}


def test_the_catalogue_is_complete_and_every_part_is_expected():
    """CL44 and CL45 belong to the monitors; every other claim of theory.md section 5 is here, with its sizes."""
    wanted = [f"CL{i}" for i in range(1, 62) if i not in (44, 45)]
    assert list(CLAIMS) == wanted
    assert {path.stem for path in (CONF / "claim").glob("*.yaml")} == {*CLAIMS, "all"}
    for claim in CLAIMS.values():
        sizes = compose_as(ClaimsConfig, [f"claim={claim.id}"]).claim.sizes
        assert set(sizes) == set(LEVELS)
        assert sizes["quick"].keys() == sizes["full"].keys(), claim.id
        assert claim.family in FAMILIES
    known = expectations()
    assert {f"CL{number(part)}" for part in known} == set(wanted)
    assert all(one.verdicts and one.why for one in known.values())  # `expectations` has checked what they say


@pytest.mark.parametrize(
    "level", [pytest.param(level, marks=pytest.mark.slow if level == "full" else ()) for level in LEVELS]
)
@pytest.mark.parametrize("claim", CLAIMS)
def test_every_experiment_of_every_level_can_be_composed(claim, level, monkeypatch):
    """A wrong override or size at LEVEL=full must not wait for a run of hours. Data sets of files are not opened."""
    monkeypatch.setattr(networks, "check_files", lambda dataset: None)  # composed even where the files are absent
    sizes = compose_as(ClaimsConfig, [f"claim={claim}"]).claim.sizes
    experiments = CLAIMS[claim].experiments(command.Protocol(level, sizes[level]))
    assert experiments
    for one in experiments.values():
        assert one.blocks() and len(one.ensemble_id(*one.blocks()[0])) == 16
        overrides = one.settings.get("overrides", ())
        if overrides and not any(o in ("dataset=mnist", "dataset=fashion_mnist", "dataset=cifar10") for o in overrides):
            cell_of(tuple(overrides), "cpu")


def test_without_image_files_the_exit_code_is_zero(claims, monkeypatch, tmp_path):
    monkeypatch.setenv("SHB_DATA", str(tmp_path / "nothing"))
    code, report, output = claims("-m", "claim=CL3,CL33", "figures=false")
    assert [(entry["claim"], entry["verdict"]) for entry in report["claims"]][-1] == ("CL33", "OUT-OF-SCOPE")
    assert "train-images-idx3-ubyte" in output.out
    assert code == 0
