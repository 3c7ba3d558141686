"""A stored spec gives back its cell, to the last letter; a stranger's is data, which cannot run nor ask for more."""

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.cell.bounds import MOST_EVALUATIONS
from bench.cell.cell import NUMERICS, build_cell
from bench.cell.config import compose_config
from bench.cell.rebuild import Unavailable, spec_cell
from bench.cell.spec import MAX_LIST, MAX_TEXT, read_spec
from bench.execution.record import described
from bench.store.identity import canonical
from bench.store.store import Store
from shb.errors import ConfigurationError, shown
from tests.bench.conftest import ROOT

CELLS = (
    "dataset=digits model=mlp model.hidden=[] optimizer=sgd optimizer.lr=1",
    "dataset=mnist1d model=cnn model.kernel=5 optimizer=adam schedule=power schedule.q=0.5",
    "dataset=digits model=cnn model.downsample=stride optimizer=nesterov sampling=reshuffle dtype=bfloat16",
    "dataset=digits model=cnn model.pool_beta=0.5 optimizer=ema_momentum loss=squared init=kaiming",
    "dataset=breast_cancer optimizer=torch_momentum optimizer.dampening=0.5 init=normal init.std=0.2 engine=compiled",
    "dataset=diabetes optimizer=shb velocity=normal velocity.std=0.5 momentum_schedule=cosine relu_derivative=0.5",
    "dataset=diabetes optimizer=shb optimizer.lr=0.01 momentum_schedule=second_order momentum_schedule.r=0 "
    "optimizer.allow_unstable=true",
    "dataset=diabetes optimizer=shb optimizer.momentum=-1.5 optimizer.allow_unstable=true relu_rule=injected",
    "dataset=diabetes optimizer=sgd steps=7 evaluations=5",
    "dataset=diabetes optimizer=sgd steps=3 evaluations=100 seed_offset=123456789012",
    "dataset=diabetes optimizer=adam optimizer.weight_decay=0.1 optimizer.decoupled=true clip=norm clip.at=0.5",
    "dataset=diabetes optimizer=sgd optimizer.weight_decay=1 clip=value clip.at=2 schedule=power",
    "problem=e1 init=zeros",
    "problem=e2 problem.form=relu_2 problem.noise=uniform",
    "problem=e3 init=point init.value=[0.5,1.5] dtype=float64",
    "problem=e5 problem.data=diabetes init=uniform",
    "problem=e8 problem.law=discrete problem.values=[1,2,-3]",
    "problem=e10 problem.bias=random",
    "problem=e11 problem.kind=rotation",
    "problem=max_affine problem.noise=finite problem.atoms=3",
    "problem=quadratic problem.curvature=[1,10] problem.noise=cauchy schedule=step",
    "problem=quadratic problem.noise=finite problem.atoms=8 sampling=reshuffle",
    "problem=valley",
)


def cell_of(overrides):
    return build_cell(compose_config([*overrides.split(), "seeds=2", "device=cpu", "logger=none"]))


@pytest.mark.parametrize("overrides", CELLS)
def test_a_spec_gives_back_its_cell(overrides):
    cell = cell_of(overrides)
    for index, text in enumerate(map(cell.spec_json, range(len(cell.ids)))):
        again = spec_cell(text)
        assert again.ids == (cell.ids[index],) and again.spec_json(0) == text
        assert again.plan == cell.plan and again.members[0] == cell.members[index]
        assert described(again, 0) == described(cell, index)


def test_reference_members_are_described_by_their_specs():
    """Every column that is no result and no fact of a machine follows from the spec alone."""
    for row in Store(ROOT / "results" / "reference").members()[::97].iter_rows(named=True):
        assert described(spec_cell(row["spec"]), 0).items() <= row.items()


def test_older_numerics_keep_the_identity_that_they_gave():
    spec = cell_of("dataset=diabetes engine=compiled").under("compiled").specs[0]
    older = {**spec, "numerics": 1}
    again = spec_cell(canonical(older))
    assert again.specs[0]["numerics"] == 1 < NUMERICS["compiled"] and again.ids != spec_cell(canonical(spec)).ids


@pytest.fixture(scope="module")
def learning():
    return json.loads(cell_of("dataset=digits model=cnn optimizer=shb schedule=power steps=20").spec_json(0))


@pytest.fixture(scope="module")
def closed():
    return json.loads(cell_of("problem=quadratic problem.noise=finite optimizer=sgd init=point").spec_json(0))


DELETED = object()


def changed(spec, path, value):
    """The spec with another value (or DELETED) at "field/field/..."."""
    whole = target = copy.deepcopy(spec)
    *parents, name = path.split("/")
    for parent in parents:
        target = target[parent]
    if value is DELETED:
        del target[name]
    else:
        target[name] = value
    return whole


def refused(spec, path, value):
    """The one line with which the changed spec is refused."""
    with pytest.raises(ConfigurationError) as caught:
        spec_cell(json.dumps(changed(spec, path, value)))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("optimizer", "sbh", "did you mean shb"),
        ("optimizer", "__import__('os').system('true')", "letters, digits"),
        ("engine", "cython", "one of compiled, eager"),
        ("schedule", "pwoer", "did you mean power"),
        ("problem/name", "e99", "one of"),
        ("problem/model/name", "resnet", "one of"),
        ("problem/model/depth", 3, "one of"),
        ("problem/model/channels", [0, 4], "channels >= 1"),
        ("problem/model/channels", "abc", "list of whole numbers"),
        ("problem/model/channels", [4] * (MAX_LIST + 1), f"at most {MAX_LIST}"),
        ("problem/model/channels", [10**7], "at most 1000000"),
        ("problem/model/kernel", 4, "odd"),
        ("problem/dataset", "../../etc/passwd", "letters, digits"),
        ("problem/dataset", "imagenet", "one of"),
        ("problem/loss", "hinge", "one of"),
        ("problem/dtype", "float8", "one of"),
        ("problem/device", "auto", "one of cpu, cuda"),
        ("problem/device", "tpu", "one of"),
        ("problem/init/name", "auto", "one of"),
        ("problem/init/std", 3.0, "one of"),
        ("problem/batch_size", 0, "1..1149"),
        ("problem/batch_size", 32.0, "whole number"),
        ("problem/batch_size", True, "whole number"),
        ("problem/extra", 1, "no such field"),
        ("problem/sampling", DELETED, "missing"),
        ("hyperparameters/lr", "fast", "a number"),
        ("hyperparameters/lr", [0.1, 0.2], "a number"),
        ("hyperparameters/lr", -0.1, "number > 0"),
        ("hyperparameters/lr", 1, "0.05|1.0"),
        ("hyperparameters/lr", DELETED, "missing"),
        ("hyperparameters/beta1", 0.9, "one of"),
        ("hyperparameters/schedule.gamma", 0.9, "one of"),
        ("hyperparameters/schedule.q", 1e9, "0 .. 100"),
        ("hyperparameters/schedule.q", DELETED, "missing"),
        ("hyperparameters/schedule.name", 1, "one of"),
        ("seed", -1, "2\\^63"),
        ("seed", 2**63, "2\\^63"),
        ("seed", 0.5, "whole number"),
        ("steps", 0, ">= 1"),
        ("evaluate_at", [0, 1, 20], "as its other fields say"),
        ("evaluate_at", list(range(MOST_EVALUATIONS + 1)), "at most"),
        ("velocity_std", -1.0, "number > 0"),
        ("numerics", 0, ">= 1"),
        ("unknown", 1, "no such field"),
        ("clip", "nrom", "did you mean norm"),
        ("clip", "norm", "clip.at=(missing)"),
        ("clip", "none", "as its other fields say"),
        ("clip", 1, "a name"),
        ("decoupled", 1, "true or false"),
        ("decoupled", False, "as its other fields say"),
        ("decoupled", True, "as its other fields say"),  # without weight decay
        ("hyperparameters/weight_decay", 0.0, "as its other fields say"),
        ("hyperparameters/weight_decay", -0.1, "number >= 0"),
        ("hyperparameters/clip.at", 1.0, "one of"),
        ("optimizer", "${oc.env:HOME}", "letters, digits"),
        ("problem/model/downsample", "${oc.env:HOME}", "letters, digits"),
        ("optimizer", "\x1b[31mred", "letters, digits"),
    ],
)
def test_a_learning_spec_that_cannot_be_is_refused(learning, path, value, words):
    message = refused(learning, path, value)
    assert any(word.replace("\\", "") in message for word in words.split("|")), message
    assert "\x1b" not in message


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("problem/x", [[1.0]], "one of"),
        ("problem/curvature", [1.0] * (MAX_LIST + 1), f"at most {MAX_LIST}"),
        ("problem/curvature", [-1.0], "> 0"),
        ("problem/curvature", {"a": 1}, "a name, a number or a list"),
        ("problem/atoms", 1e9, "at most 1000000"),
        ("problem/atoms", 10**9, "at most 1000000"),
        ("problem/noise", "loud", "one of"),
        ("problem/noise", ["gaussian"], "one of"),
        ("problem/init/value", [1.0, 2.0, 3.0], "one for each coordinate"),
        ("problem/model", {"name": "mlp"}, "one of"),
        ("momentum_schedule", "inverse_log", "no momentum"),
        ("momentum_schedule", "cosine", "momentum_schedule.final=(missing)"),
    ],
)
def test_a_closed_form_spec_that_cannot_be_is_refused(closed, path, value, words):
    assert words in refused(closed, path, value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "JSON"),
        ("[1, 2]", "an object"),
        ("{", "JSON"),
        ("[" * 100_000, "JSON"),
        (f'{{"steps": {"9" * 5000}}}', "JSON"),
        ('{"steps": NaN}', "JSON (NaN"),
        ('{"steps": 1, "steps": 2}', "twice"),
        ("x" * (MAX_TEXT + 1), f"at most {MAX_TEXT}"),
        ("null", "an object"),
    ],
)
def test_what_is_no_spec_is_refused(text, words):
    with pytest.raises(ConfigurationError, match="spec") as caught:
        spec_cell(text)
    assert words in str(caught.value) and len(str(caught.value)) < 300


def test_a_spec_without_its_data_says_what_is_missing(learning, tmp_path):
    spec = changed(learning, "problem/dataset", "fashion_mnist")
    with pytest.raises(Unavailable, match=str(tmp_path)):
        spec_cell(json.dumps(spec), str(tmp_path))


def test_other_data_of_the_same_name_are_not_the_data(learning):
    with pytest.raises(Unavailable, match="another one"):
        spec_cell(json.dumps(changed(learning, "problem/checksum", "0" * 64)))


def test_newer_numerics_need_newer_code(learning):
    with pytest.raises(Unavailable, match="update"):
        spec_cell(json.dumps(changed(learning, "numerics", NUMERICS["eager"] + 1)))


def test_a_gpu_is_asked_for_and_not_there(learning, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(Unavailable, match="CUDA"):
        spec_cell(json.dumps(changed(learning, "problem/device", "cuda")))


def test_shown_values_are_short_and_harmless():
    assert len(shown("x" * 1000)) == 60 and "\x1b" not in shown("\x1b[31m") and shown("\u202e") == "'\\u202e'"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**400) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


def paths(value, prefix=""):
    for name, item in value.items():
        yield f"{prefix}{name}"
        if isinstance(item, dict):
            yield from paths(item, f"{prefix}{name}/")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), value=VALUES, which=st.booleans())
def test_any_change_of_a_spec_gives_one_line_or_another_spec(learning, closed, data, value, which):
    """Nothing but the two errors comes out, and what passes says exactly what it was given."""
    spec = closed if which else learning
    path = data.draw(st.sampled_from(sorted(paths(spec))))
    try:
        text = json.dumps(changed(spec, path, value), sort_keys=True, separators=(",", ":"))
        cell = spec_cell(text)
    except (ConfigurationError, Unavailable) as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
    else:
        assert cell.spec_json(0) == text


def test_reading_builds_nothing(learning, monkeypatch):
    monkeypatch.setattr("bench.cell.rebuild.build_cell", lambda config: pytest.fail("built"))
    assert read_spec(json.dumps(learning)) == learning
