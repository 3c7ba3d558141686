"""conf/expectations.yaml against verdicts: what depends on the processor is printed, the rest is a failure."""

import json

import numpy as np
import pytest
from omegaconf import OmegaConf

import bench.claims.__main__ as command
import bench.claims.expectations as expectations_file
from bench.claims.claim import Claim, Observed, Part
from bench.claims.prediction import inside
from bench.command import run_command
from bench.statistics.estimates import Mean
from bench.statistics.inference import Region
from shb.errors import ConfigurationError
from tests.bench.claims.precision.columns import BORDER, init_results, pool_results, split_columns, verdicts

FIRED = (Observed("changed", True, "failed", "made up"),)
# Where a processor decides whether a statement holds, and not only whether these sample sizes show it.
EITHER = {"CL33c"}


class MadeUp(Claim):
    """A claim with some of its parts only."""

    def parts(self, protocol, results):
        return list(self.statements(protocol, results))


def part(id, verdict):
    """A part that is judged `verdict`, whatever stands beside it."""
    ends = {"SUPPORTED": (0.5, 0.7), "REFUTED": (0.9, 1.0), "INCONCLUSIVE": (0.6, 1.0)}[verdict]
    values = np.linspace(0.59, 0.61, 50) if verdict != "INCONCLUSIVE" else np.linspace(0.4, 0.8, 50)
    return Part("made up", "test", inside("in the region", Region(*ends)), Mean(values), FIRED, id=id)


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """The command for made-up parts of claims: (exit code, claims.json by part, output)."""

    def run(**parts):
        monkeypatch.setattr(command, "_compute", lambda *_: {})
        monkeypatch.setattr(command, "_load", lambda *_: {})
        claims = sorted({id[:-1] for id in parts})
        for claim in claims:
            own = [part(id, verdict) for id, verdict in parts.items() if id[:-1] == claim]
            changed = {"statements": lambda _, __, own=own: own, "datasets": (), "appendix": None}
            monkeypatch.setitem(command.CLAIMS, claim, MadeUp(**{**vars(command.CLAIMS[claim]), **changed}))
        arguments = ["-m", f"claim={','.join(claims)}", "figures=false", f"results_dir={tmp_path}"]
        code = run_command(command.main, arguments)
        written = json.loads((tmp_path / "claims" / "claims.json").read_text())["claims"]
        return code, {entry["id"]: entry for entry in written}, capsys.readouterr().out

    return run


def test_a_verdict_that_depends_on_the_processor_is_printed_and_is_no_failure(run):
    code, entries, output = run(CL33c="SUPPORTED", CL4a="SUPPORTED")
    assert entries["CL33c"]["verdict"] == "SUPPORTED" and entries["CL33c"]["expected"]
    assert "SUPPORTED" not in entries["CL33c"]["expected_verdicts"]
    assert entries["CL33c"]["other_processors_verdicts"] == ["SUPPORTED"] and entries["CL33c"]["other_processors_why"]
    assert entries["CL4a"]["other_processors_verdicts"] == []
    assert "CL33c depends on the processor: SUPPORTED, elsewhere INCONCLUSIVE or REFUTED" in output
    assert "unexpected" not in output and "CL4a depends" not in output
    assert code == 0


@pytest.mark.parametrize("wrong", [{"CL4a": "REFUTED"}, {"CL33a": "REFUTED"}, {"CL33b": "INCONCLUSIVE"}])
def test_a_wrong_verdict_is_a_failure_also_beside_one_of_the_processor(run, wrong):
    code, _, output = run(**{"CL33c": "SUPPORTED", **wrong})
    ((id, verdict),) = wrong.items()
    assert f"{id} unexpected: {verdict}, expected SUPPORTED" in output
    assert code == 1


def test_what_may_differ_between_processors_stays_a_short_list():
    """A part that may be SUPPORTED and REFUTED tests nothing, so every such part is named here; so are the others."""
    known = expectations_file.expectations()
    both = {"SUPPORTED", "REFUTED"}
    assert not [id for id, one in known.items() if both <= {*one.verdicts}]
    assert {id for id, one in known.items() if both <= {*one.verdicts, *one.elsewhere}} == EITHER
    assert {id for id, one in known.items() if one.elsewhere} == EITHER | {"CL33a", "CL35c", "CL36c"}


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"verdicts": ["SUPPORTED"]}, "expectations.CL1a=verdicts: allowed is verdicts and why"),
        ({"verdicts": [], "why": "so"}, "neither of them empty"),
        ({"verdicts": ["SUPORTED"], "why": "so"}, "did you mean SUPPORTED?"),
        ({"verdicts": ["VOID"], "why": "so"}, "expectations.CL1a.verdicts=VOID"),
        ({"verdicts": ["SUPPORTED"], "why": "so", "others": {}}, "expectations.CL1a=verdicts, why, others"),
        (
            {"other_processors": {"verdicts": ["REFUTED"], "why": " "}},
            "expectations.CL1a.other_processors=verdicts, why",
        ),
        ({"other_processors": {"verdicts": ["VOID"], "why": "so"}}, "other_processors.verdicts=VOID"),
        ({"other_processors": {"verdicts": ["SUPPORTED"], "why": "so"}}, "SUPPORTED: allowed is others only"),
    ],
)
def test_an_expectation_without_a_reason_is_refused(monkeypatch, tmp_path, entry, line):
    usual = {"verdicts": ["SUPPORTED"], "why": "so"} if "other_processors" in entry else {}
    OmegaConf.save({"CL1a": {**usual, **entry}}, tmp_path / "expectations.yaml")
    monkeypatch.setattr(expectations_file, "CONF", tmp_path)
    with pytest.raises(ConfigurationError) as error:
        expectations_file.expectations()
    assert line in str(error.value)


@pytest.mark.parametrize("share", [0.2, 0.45, 0.56, 0.8])
def test_no_control_hangs_on_the_zeros_of_float32(share):
    """On another processor 45 % of initialisations may have an exact zero in float32: float64 still has none."""
    float32 = split_columns(200, [0.05, 0.1, 0.15, 0.18, share])
    found = verdicts("CL33", BORDER, init_results() | {"float32": float32})
    assert "VOID" not in found.values() and found["CL33e"] == "SUPPORTED"


def test_a_control_of_few_chaotic_runs_fires_whether_many_or_few_collapse():
    for accuracy in (0.75, 0.35):  # instead of 0.95
        assert verdicts("CL36", {}, pool_results(float16_1000_published=accuracy))["CL36e"] != "VOID"
    assert verdicts("CL36", {}, pool_results(float16_1000_published=0.95))["CL36e"] == "VOID"
