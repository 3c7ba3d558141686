"""Every number that a user may give has a largest value, and memory is asked for before it is spent."""

import dataclasses
import json
import math
import typing

import pytest
from omegaconf import OmegaConf

import bench.cell.memory
from bench import compare, reproduce, run, verify
from bench.cell.bounds import BOUNDS, check_numbers, check_sizes, is_size
from bench.cell.cell import build_cell
from bench.cell.config import CONF, ClaimsConfig, Config, compose_config, own_entries
from bench.cell.matrix import MOST_JOBS
from bench.cell.memory import check_memory
from bench.cell.spec import read_spec
from bench.claims import __main__ as claims
from bench.claims.catalogue import CLAIMS
from bench.command import run_command
from bench.suite.suite import load_suite
from bench.suite.workers import worker_count
from shb.errors import ConfigurationError

ODD = [2**63 - 1, 10**12, -1, math.nan, math.inf]
GIB = 2**30


def numeric(schema):
    """Names of the numeric fields of a schema."""
    kinds = typing.get_type_hints(schema)
    return [
        f.name for f in dataclasses.fields(schema) if {int, float} & {kinds[f.name], *typing.get_args(kinds[f.name])}
    ]


def leaves(value, *path):
    """(path, number) of every number in nested mappings and lists."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, *path, key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value


def override(name, number, example):
    text = json.dumps(number).replace("NaN", "nan").replace("Infinity", "inf")
    return f"{name}=[{text}]" if isinstance(example, list) else f"{name}={text}"


@pytest.fixture(autouse=True)
def sixteen_gibibytes(monkeypatch):
    monkeypatch.setattr(bench.cell.memory, "usable_memory", lambda: 16 * GIB)


GROUPS = {  # group -> what its entries need beside them
    "model": {
        "cnn": ["dataset=digits"],
        "lenet": ["dataset=digits"],
        "vgg": ["dataset=digits"],
        "transformer": ["dataset=digits"],
        "adapter": [],
    },
    "optimizer": {},
    "schedule": {},
    "momentum_schedule": {},
    "clip": {},
    "init": {"uniform": ["problem=e1"]},
    "velocity": {},
    "problem": {},
}
FIELDS = [
    ([f"{group}={entry}", *more.get(entry, ())], f"{group}.{name}", value)
    for group, more in GROUPS.items()
    for entry in own_entries(group)
    for name, value in OmegaConf.to_container(OmegaConf.load(CONF / group / f"{entry}.yaml")).items()
    if name != "space" and any(leaves({name: value}))
]
FIELDS += [([], name, 0) for name in numeric(Config)]


def refused_or_small(overrides):
    """The line of a refusal, or None: then the cell has few members, no large network, and few evaluations."""
    try:
        config = compose_config(["device=cpu", *overrides])
        cell = build_cell(config)
        check_memory([cell], config.memory)
    except ConfigurationError as error:
        assert "\n" not in str(error)
        return error
    assert len(cell.members) <= 10 and len(cell.plan.evaluate_at) <= 100_000
    for _, number in leaves([cell.problem_spec, *cell.specs]):
        assert math.isfinite(number)
    return None


@pytest.mark.parametrize(("choice", "name", "example"), FIELDS, ids=[" ".join([*c, n]) for c, n, _ in FIELDS])
def test_every_number_of_a_cell_is_refused_in_one_line_or_harmless(choice, name, example):
    for number in ODD:
        error = refused_or_small([*choice, override(name, number, example)])
        if not math.isfinite(number) or (is_size(name) and number > 10**6):
            assert error is not None and error.field == name, number


@pytest.mark.parametrize("name", [*dict.fromkeys([*numeric(Config), *numeric(ClaimsConfig)])])
def test_a_number_of_the_configuration_has_a_bound_of_its_own(name):
    if name in ("batch_size", "relu_derivative"):  # shb says what they may be
        for number in (-1, 10**12):
            assert refused_or_small([f"{name}={number}"]).field == name
    else:
        with pytest.raises(ConfigurationError, match=rf"^{name}=1e\+22: allowed is a .*number.* <= "):
            check_numbers(name, 1e22)


@pytest.mark.parametrize("number", ["9223372036854775808", "-1", "nan", "1e400", "x"])
@pytest.mark.parametrize(
    ("main", "arguments", "name"),
    [
        (verify.main, [], "n"),
        (verify.main, [], "seed"),
        (verify.main, [], "limit"),
        (reproduce.main, ["0"], "limit"),
        (compare.main, ["A"], "show"),
    ],
)
def test_options_of_other_commands(main, arguments, name, number, capsys):
    assert run_command(main, [*arguments, f"{name}={number}"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and f"error: {name}=" in err and BOUNDS[name].words in err


@pytest.mark.parametrize("name", sorted(n.removeprefix("suite.") for n in BOUNDS if n.startswith("suite.")))
def test_numbers_of_a_suite(write_suite, name):
    for number in (*ODD, "x", 2.5, True):
        write_suite("odd", **{name: number})
        try:
            load_suite("odd")
        except ConfigurationError as error:
            assert error.field in (f"suite.{name}", "members of suite odd") and "\n" not in str(error)
        else:
            assert isinstance(number, int) and ("offset" in name or name == "version")


@pytest.mark.parametrize("claim", sorted(CLAIMS))
def test_every_size_of_a_claim(claim):
    entry = claims._entry(claim)
    check_sizes("claim", entry, entry)
    for path, size in leaves(entry):
        for number in ODD:
            odd = json.loads(json.dumps(entry))
            *above, last = path
            place = odd
            for key in above:
                place = place[key]
            place[last] = number
            if isinstance(size, int) or not math.isfinite(number):
                field = ".".join(["claim", *(key for key in path if isinstance(key, str))])
                with pytest.raises(ConfigurationError) as caught:
                    check_sizes("claim", odd, entry)
                assert caught.value.field == field and "\n" not in str(caught.value)
            else:
                check_sizes("claim", odd, entry)


@pytest.mark.parametrize(
    ("arguments", "field", "allowed"),
    [
        ("claim=CL25 claim.quick.seeds=1000000000000", "claim.quick.seeds=1000000000000", "<= 10^8"),
        ("claim=CL25 claim.quick.seeds=1.5", "claim.quick.seeds=1.5", "a whole number >= 1"),
        ("claim=CL25 claim.quick.seeds=99999999 claim.full.seeds=0", "claim.full.seeds=0", "a whole number >= 1"),
        (
            "claim=CL25 claim.quick.seeds=99999999",
            "claim.quick=299999997 seeds",
            "27.9 GiB of memory, 16.0 GiB are free",
        ),
        ("claim=CL25 +claim.quick.sed=1", "claim.quick.sed=1", "one of seeds, steps"),
        ("claim=CL25 +claim.more=1", "claim.more=1", "claim.quick claim.full"),
        ("claim=CL25 ~claim.quick.seeds", "claim.quick.seeds=(deleted)", "cannot be deleted"),
        ("~workers", "workers=(deleted)", "cannot be deleted"),
        ("claim=CL25 claim.quick={a:1}", "claim.quick={a:1}", "claim.quick claim.full"),
        ("claim=CL25 claim.quick=3", "claim.quick=3", "seeds, steps"),
        ("claim=CL25 claim.quick.seeds=${level}", "claim.quick.seeds=${level}", "${...} is not resolved here"),
        ("workers=1000000", "workers=1000000", "<= 1024"),
        ("~level", "level=(deleted)", "cannot be deleted"),
        ("~claim", "claim=(deleted)", "cannot be deleted"),
        ("claim={a:1}", "claim={a:1}", "nothing: this field does not apply for claim=all"),
        ("claim=[CL25]", "claim=[CL25]", "one of CL1"),
    ],
)
def test_a_claim_is_refused_before_any_compute(tmp_path, capsys, arguments, field, allowed):
    assert run_command(claims.main, [*arguments.split(), f"results_dir={tmp_path / 'new'}"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith(f"error: {field}: allowed is ") and allowed in err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "field", "allowed"),
    [
        (
            "problem=e1 seeds=100000000",
            "seeds=100000000",
            "100,000,000 members take about 559.2 GiB of memory, 16.0 GiB are free",
        ),
        ("problem=e1 optimizer.lr=[{}] optimizer.momentum=[{}]", "seeds=10", "10,000,000 members take about"),
        (
            "problem=e1 seeds=1000 steps=99999 evaluations=99999",
            "seeds=1000",
            "at most about 156: 1,000 members with 100000 evaluations take about 102.5 GiB",
        ),
        ("model.hidden=[1000000,1000000]", "model=mlp", "2 members of digits/mlp shb take about"),
        ("-m seeds=range(1,1000000000000)", "-m=", f"at most {MOST_JOBS} jobs, these are 999,999,999,999"),
        ("memory=17", "memory=17.0", "at most 16: 16.0 GiB are free"),
        ("suite=smoke workers=1000", None, None),
        ("suite=smoke memory=17 steps=1", "memory=17.0", "at most 16"),
        ("suite=default steps=99999 evaluations=99999", "suite.evaluation_seeds=10", "200 members with 100000 evaluat"),
    ],
)
def test_memory_is_asked_for_before_it_is_spent(tmp_path, capsys, arguments, field, allowed, monkeypatch):
    many = ",".join(str(0.1 + i / 1e5) for i in range(1000))
    if field is None:  # six pairs, one process of which has room
        monkeypatch.setattr(bench.cell.memory, "usable_memory", lambda: GIB // 2)
        field, allowed = "workers=6", "at most 1: a process takes about 0.4 GiB of memory, 0.5 GiB are free"
    arguments = arguments.format(many, many).split() if "{}" in arguments else arguments.split()
    assert run_command(run.main, [*arguments, f"results_dir={tmp_path / 'new'}"]) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and err.startswith(f"error: {field}") and allowed in err and "to compute" not in out
    assert not (tmp_path / "new").exists()


def test_processes_are_as_many_as_have_room(tiny_config, monkeypatch):
    config = dataclasses.replace(tiny_config, threads=8)
    assert worker_count(config, 8, 1e15) == 8
    monkeypatch.setattr(bench.cell.memory, "usable_memory", lambda: 900 << 20)
    assert worker_count(config, 8, 1e15) == 2
    monkeypatch.setattr(bench.cell.memory, "usable_memory", lambda: None)
    assert worker_count(config, 8, 1e15) == 8


def test_a_name_is_a_size_in_its_group_alone():
    """The width of a transformer is one; that of the valley of E14 is a length, as large as one likes."""
    for width in ("2e21", "2000000", "0.5"):
        cell = build_cell(compose_config(["problem=e14", f"problem.width={width}", "device=cpu", "steps=1"]))
        spec = read_spec(json.dumps(cell.specs[0]))
        assert spec["problem"]["width"] == float(width)
    with pytest.raises(ConfigurationError, match=r"model\.width=2000000: allowed is a whole number .* <= 10\^6"):
        compose_config(["model=transformer", "dataset=digits", "model.width=2000000"])
    network = build_cell(compose_config(["model=transformer", "dataset=digits", "device=cpu", "steps=1"])).specs[0]
    network["problem"]["model"]["width"] = 2_000_000
    with pytest.raises(ConfigurationError, match=r"spec\.problem\.model\.width=2000000: allowed is at most"):
        read_spec(json.dumps(network))
