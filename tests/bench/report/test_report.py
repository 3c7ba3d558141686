"""The report without a browser: curves, columns, what is escaped, what is listed, what the files say."""

import base64
import hashlib
import json
import math
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import bench.report.__main__ as report_command
import bench.report.figures as figures_command
from bench.command import run_command
from bench.execution.record import failed_rows
from bench.leaderboard.document import leaderboard
from bench.plotting.palette import looks
from bench.report.board import boards, ordered
from bench.report.claims import families
from bench.report.columns import column, pack, rounded, unpack
from bench.report.curves import QUANTILES, Curves, extremes, make_curves, within_budget
from bench.report.data import gather
from bench.report.members import fill, listed, reproduce_command, split_spec
from bench.report.page import LIMIT, build_page
from bench.report.strip import MARGIN, WIDTH, Scale, strip
from bench.report.summary import build_summary
from bench.statistics.quantiles import quantile_bands
from bench.store.identity import canonical
from bench.store.schema import CURVE_SCHEMA
from bench.store.store import Store
from bench.suite.suite import load_suite
from tests.bench.conftest import ROOT, SUITE_SIZE
from tests.bench.report.report_fixture import full_document

EVIL = "<script>window.pwned=1</script><img src=x onerror=window.pwned=1>\"'&</script>"


def report_of(folder, full=False):
    suite, store = load_suite("smoke", [*SUITE_SIZE, f"results_dir={folder}"]), Store(folder)
    own = leaderboard(suite.plan(store.members()), store)
    return gather(suite.plan(store.members()), store, full_document(own, suite, store) if full else own)


@pytest.fixture(scope="module")
def plain(finished):
    """The report as the present leaderboard makes it."""
    return report_of(finished)


@pytest.fixture(scope="module")
def full(finished):
    """The report of a leaderboard with every section; not to be changed."""
    return report_of(finished, full=True)


class Elements(HTMLParser):
    """Every start tag of a page with its attributes, and all text outside of scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags[-1:] and self.tags[-1][0] not in ("script", "style"):
            self.text += data


# ---- columns


def test_columns_come_back():
    for values in ([1, None, 3, 4, 5], ["a", "b", "a", None, "a", "a", "a", "b"], [], [None], [0.5] * 9):
        packed = unpack(pack(column(values)))
        back = packed.get("values")
        if back is None:
            back = [None if code < 0 else packed["entries"][code] for code in packed["codes"]]
        assert back == values
    assert "entries" in column(["a"] * 8) and "values" in column(list(range(8)))
    assert column([math.nan, math.inf, 1.0] * 9)["entries"] == [1.0]
    assert rounded([0.123456789, None]) == [0.123457, None]


def test_packed_text_means_nothing_in_html():
    packed = pack({"x": EVIL})
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", packed) and unpack(packed) == {"x": EVIL}
    assert pack({"x": EVIL}) == packed  # no time stamp of gzip
    with pytest.raises(ValueError):
        pack(math.inf)


# ---- curves


def test_a_diverged_seed_counts_as_the_worst_from_there_on():
    members = pl.DataFrame(
        {
            "member_id": ["a", "b", "c"],
            "seed": [0, 1, 2],
            "status": ["done", "diverged", "done"],
            "problem": ["p"] * 3,
            "optimizer": ["sgd"] * 3,
        }
    )
    rows = [("a", 0, 1.0), ("a", 5, 0.5), ("a", 9, 0.2), ("b", 0, 2.0), ("c", 0, 3.0), ("c", 5, 0.4), ("c", 9, 0.3)]
    curves = pl.DataFrame(
        [{"member_id": m, "step": k, "val_loss": v, "val_accuracy": v / 10} for m, k, v in rows], schema=CURVE_SCHEMA
    )
    by_metric = {own.metric: own for own in make_curves("p", "sgd", members, curves)}
    loss, accuracy = by_metric["val_loss"], by_metric["val_accuracy"]
    assert loss.steps.tolist() == [0, 5, 9] and loss.measured.tolist() == [3, 2, 2]
    assert loss.lines[3].tolist() == [2.0, 0.5, 0.3] and loss.lines[-1].tolist() == [3.0, np.inf, np.inf]
    assert accuracy.lines[0].tolist() == pytest.approx([0.1, 0.0, 0.0])
    assert loss.seeds[1][0].tolist() == [0] and set(by_metric) == {"val_loss", "val_accuracy"}


def heavy(points, seeds=10, count=1):
    generator = np.random.default_rng(1)
    steps = np.arange(points)
    result = []
    for i in range(count):
        values = np.cumsum(generator.standard_normal((seeds, points)), axis=1)
        own = {seed: (steps, values[seed]) for seed in range(seeds)}
        result.append(
            Curves(f"p{i}", "sgd", "val_loss", steps, quantile_bands(values, QUANTILES), np.full(points, seeds), own)
        )
    return result


def test_decimation_keeps_first_last_and_the_extremes_of_every_piece():
    (curves,) = heavy(5000)
    kept = extremes(curves.lines[0], 50)
    assert len(kept) <= 102 and kept[0] == 0 and kept[-1] == 4999
    for part in np.arange(5000).reshape(50, 100):
        own = curves.lines[0][part]
        assert {own.min(), own.max()} <= set(curves.lines[0][kept])
    assert extremes(np.arange(10.0), 5).tolist() == list(range(10))
    assert extremes(np.array([np.nan] * 100), 5).tolist() == [0, 99]
    some = np.full(103, np.nan)
    some[[7, 50, 51, 102]] = 3.0, np.inf, -1.0, 2.0
    assert extremes(some, 4).tolist() == [0, 7, 50, 51, 102]


def test_heavy_curves_fit_and_show_their_extremes():
    curves = heavy(5000, count=4)
    for budget in (10**9, 200_000, 30_000, 5_000, 900):
        fitting, thinned = within_budget(curves, budget)
        assert sum(c.numbers for c in fitting) <= budget and thinned == (budget < 10**9)
        for before, after in zip(curves, fitting):
            assert after.lines[0].min() == before.lines[0].min() and after.lines[-1].max() == before.lines[-1].max()
            for seed, (_, values) in after.seeds.items():
                own = before.seeds[seed][1]
                assert (values.min(), values.max()) == (own.min(), own.max())
    assert all(c.seeds for c in within_budget(curves, 30_000)[0]) and not within_budget(curves, 900)[0][0].seeds


# ---- board


def test_rows_are_in_the_order_of_tie_groups():
    standings = (("a", 2, 3, 3), ("b", 1, 1, 2), ("c", None, None, None), ("d", 1, 1, 2))
    rows = [
        {
            "optimizer": name,
            "metric": "test_loss",
            "median": 0.9,
            "tie_group": group,
            "rank_low": low,
            "rank_high": high,
        }
        for name, group, low, high in standings
    ]
    assert [row["optimizer"] for row in ordered(rows)] == ["b", "d", "a", "c"]


def test_strips_are_on_one_scale(plain):
    scale = Scale(1.0, 100.0, True)
    assert (scale.x(1.0), scale.x(10.0), scale.x(100.0)) == (MARGIN, WIDTH / 2, WIDTH - MARGIN)
    seeds = plain.seeds[0]
    row = plain.rows(seeds.problem, seeds.metric)[0]
    drawn = strip(Scale(0.0, 1.0, False), row, seeds)
    assert drawn["dots"].count("M") == 4 and strip(None, row, seeds) is None


def test_the_board_has_the_numbers_of_the_store(full, finished):
    members = Store(finished).members()
    for board in boards(full):
        for line in board["lines"]:
            for cell, metric in zip(line["cells"], board["metrics"]):
                seeds = full.seeds[cell["seeds"]]
                assert (seeds.problem, seeds.optimizer) == (board["problem"], line["optimizer"])
                assert seeds.metric == metric["name"] and seeds.seeds == [0, 1, 2, 3]
                if metric["name"] in members.columns:
                    own = members.filter(
                        (pl.col("problem") == seeds.problem)
                        & (pl.col("optimizer") == seeds.optimizer)
                        & (pl.col("seed") < 4)
                    ).sort("seed")
                    assert seeds.values == own[metric["name"]].to_list()
        assert [line["letter"] for line in board["lines"]] == ["A", "A", "B"]


def test_claims_read_as_in_their_own_report(finished_copy):
    shutil.copytree(ROOT / "results" / "reference" / "claims", finished_copy / "claims")
    report = report_of(finished_copy)
    table = (finished_copy / "claims" / "claims.md").read_text()
    rows = [row for family in families(report, report.figures) for row in family["rows"]]
    assert len(rows) == 252 and len(report.figures) == 9
    for row in rows:
        cells = (row["id"], row["title"], row["source"], row["predicted"], row["measured_text"])
        assert f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |" in table


def test_looks_are_distinct():
    six = looks(["sgd", "shb", "nesterov", "adam", "one", "two"])
    assert len({look.colour for look in six.values()}) == 6 and six["one"].label == "one"
    assert len({look.dash for look in list(six.values())[:4]}) == 4


# ---- members


def test_specs_come_back_to_the_letter(finished):
    for row in Store(finished).members().iter_rows(named=True):
        template, own = split_spec(row["spec"])
        assert own and fill(template, own, row["seed"]) == row["spec"]
        assert hashlib.sha256(fill(template, own, row["seed"]).encode()).hexdigest()[:16] == row["member_id"]
    odd = canonical({"seed": 1, "hyperparameters": {"lr": 1e-5}, "a": "@seed"})
    assert split_spec(odd) == (odd, "") and fill(odd, "", 1) == odd
    assert split_spec('{"a":1}') == ('{"a":1}', "")


def test_what_is_left_out_of_a_long_list():
    status = ["done"] * 6 + ["failed", "diverged"]
    phase = ["other", "other", "tuning", "tuning", "evaluation", "evaluation", "other", "tuning"]
    frame = pl.DataFrame({"member_id": [str(i) for i in range(8)], "status": status, "phase": phase, "seed": range(8)})
    frame = frame.with_columns(problem=pl.lit("p"), optimizer=pl.lit("sgd"), hyperparameters=pl.lit("{}"))
    kept = [set(listed(frame, most)["member_id"]) for most in (2, 4, 6, 8, 9)]
    assert kept[:3] == [{"6", "7"}, {"6", "7", "4", "5"}, {"6", "7", "4", "5", "2", "3"}]
    assert len(kept[3]) == len(kept[4]) == 8


def test_the_command_is_safe_in_a_shell():
    assert (
        reproduce_command("ab12", Path("results/local")) == "python -m bench.reproduce ab12 results_dir=results/local"
    )
    assert reproduce_command("ab12", Path("my $(results)")).endswith("results_dir='my $(results)'")


# ---- page and commands


@pytest.fixture
def evil_store(finished_copy):
    """The finished store, with names, errors and claims that try to be markup."""
    store = Store(finished_copy)
    members = store.members()
    hostile = members.head(1).with_columns(
        member_id=pl.lit("feedfeedfeedfeed"),
        problem=pl.lit(EVIL),
        status=pl.lit("failed"),
        error=pl.lit(EVIL),
        cpu=pl.lit(EVIL),
    )
    store.write(hostile.to_dicts(), [])
    claims = json.loads((ROOT / "results/reference/claims/claims.json").read_text())
    for name in ("title", "source", "predicted", "control", "note", "unit"):
        claims["claims"][0][name] = EVIL
    claims |= {"computed_with": EVIL, "failures": {EVIL: EVIL}}
    (finished_copy / "claims").mkdir()
    (finished_copy / "claims" / "claims.json").write_text(json.dumps(claims))
    return finished_copy


def test_names_and_errors_are_escaped(evil_store):
    report = report_of(evil_store, full=True)
    report.plan = replace(report.plan, changes=(*report.plan.changes, f"model={EVIL}"))  # shown in the title
    page = build_page(report)
    assert EVIL not in page
    elements = Elements(page)
    assert EVIL in elements.text and elements.text.count("window.pwned=1") >= 10
    assert not [tag for tag, _ in elements.tags if tag == "img"]
    assert not [name for _, attributes in elements.tags for name in attributes if name.startswith("on")]


def test_the_page_is_whole_and_allows_only_what_it_holds(full):
    page = build_page(full)
    elements = Elements(page)
    for tag, attributes in elements.tags:
        for name in ("src", "href", "action"):
            assert attributes.get(name, "#").startswith(("#", "data:,")), (tag, attributes)
    (policy,) = [a["content"] for t, a in elements.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy and "http" not in policy
    for kind in ("script", "style"):
        bodies = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        digests = {base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() for body in bodies}
        listed_in = set(re.findall(r"'sha256-([^']+)'", policy.split(f"{kind}-src")[1].split(";")[0]))
        assert digests == listed_in and bodies


def test_equal_stores_give_equal_files(finished_copy):
    command = ["suite=smoke", *SUITE_SIZE, f"results_dir={finished_copy}"]
    assert run_command(report_command.main, command) == 0
    names = ("report/index.html", "summary.md")
    first = [(finished_copy / name).read_bytes() for name in names]
    assert run_command(report_command.main, command) == 0
    assert [(finished_copy / name).read_bytes() for name in names] == first
    assert len(first[0]) < LIMIT / 10


def test_the_summary(full, finished_copy):
    text = build_summary(full)
    assert "# Suite smoke v2" in text and "complete" in text and "INCOMPLETE" not in text
    row = ordered(full.rows("digits/mlp", "test_accuracy"))[0]
    assert row["tie_group"] == 1
    assert f"1-2: {row['optimizer']} {100 * row['median']:.2f} [" in text
    assert "about 52 seeds separate them" in text and "normalised score: sgd 0.9 [0.8, 1]" in text
    assert len(text) < 4000
    shutil.rmtree(finished_copy / "members")
    assert "INCOMPLETE: 72 members missing" in build_summary(report_of(finished_copy))


def test_an_incomplete_suite_and_an_empty_store(finished_copy, capsys):
    store = Store(finished_copy)
    kept = store.members().filter(pl.col("optimizer") != "adam")
    cell = load_suite("smoke", [*SUITE_SIZE, f"results_dir={finished_copy}"]).tuning_cell("digits/mlp", "adam")
    shutil.rmtree(finished_copy / "members")
    store = Store(finished_copy)
    store.write([*kept.to_dicts(), *failed_rows(cell, range(3), EVIL)], [])
    command = ["suite=smoke", *SUITE_SIZE, f"results_dir={finished_copy}"]
    assert run_command(report_command.main, command) == 1 and "INCOMPLETE" in capsys.readouterr().out
    text = " ".join(Elements((finished_copy / "report" / "index.html").read_text()).text.split())
    assert "INCOMPLETE: 24 planned members are missing" in text
    assert "24 planned members are missing, 3 of them because they failed." in text
    shutil.rmtree(finished_copy)
    assert run_command(report_command.main, command) == 1
    assert "72 planned members are missing" in (finished_copy / "report" / "index.html").read_text()


def test_claims_of_a_newer_code_or_damaged_are_refused_in_one_line(finished_copy, capsys):
    path = finished_copy / "claims" / "claims.json"
    path.parent.mkdir()
    for content, word in (('{"schema_version": 99, "claims": []}', "schema_version <= 1"), ("{", "make claims")):
        path.write_text(content)
        assert run_command(report_command.main, ["suite=smoke", *SUITE_SIZE, f"results_dir={finished_copy}"]) == 2
        error = capsys.readouterr().err
        assert word in error.replace("\n", " ") and "claims.json" in error and "Traceback" not in error


@pytest.mark.slow
def test_figures_in_three_formats_equal_for_equal_stores(full, tmp_path):
    curves = [own for own in full.curves if own.problem == "digits/mlp"]  # one problem: drawing takes time
    nothing = {"problem": "digits/mlp", "optimizer": "sgd", "against": "lr", "points": []}  # no trial is stored
    sensitivity = [nothing] + [own for own in full.document["sensitivity"] if own["problem"] == "diabetes/mlp"]
    report = replace(full, curves=curves, document={**full.document, "sensitivity": sensitivity})
    first, second = (figures_command.draw_figures(report, tmp_path / name) for name in ("a", "b"))
    assert [path.name for path in first] == [path.name for path in second]
    names = {path.stem for path in first}
    assert names == {"leaderboard", "profiles", "curves_digits_mlp", "sensitivity_diabetes_mlp"}
    starts = {".svg": b"<?xml", ".pdf": b"%PDF", ".png": b"\x89PNG"}
    for one, two in zip(first, second):
        assert one.read_bytes().startswith(starts[one.suffix]) and one.read_bytes() == two.read_bytes()


def test_problems_may_have_any_names(finished, write_suite):
    """The members of a problem are stored as of "dataset/model"; its name is what the suite's file says."""
    smoke = load_suite("smoke", ())
    names = dict(zip(smoke.problems, ["my digits (small)", "糖尿病"]))
    problems = {names[own]: list(overrides) for own, overrides in smoke.problems.items()}
    targets = {names[own]: vars(target) for own, target in smoke.targets.items()}
    write_suite("named", problems=problems, targets=targets)
    suite, store = load_suite("named", [*SUITE_SIZE, f"results_dir={finished}"]), Store(finished)
    document = leaderboard(suite.plan(store.members()), store)
    report = gather(suite.plan(store.members()), store, full_document(document, suite, store))
    usual = report_of(finished)
    assert {own.problem for own in report.curves} == set(problems) and len(report.curves) == len(usual.curves)
    assert set(report.members["problem"]) == set(problems) and "other" not in report.members["phase"].to_list()
    page, summary = build_page(report), build_summary(report)
    assert all(name in page and name in summary for name in problems)
    assert {"curves_my_digits_small_", "curves_糖尿病"} <= {name for name, _ in figures_command._figures(report)}


def test_files_of_problems_have_names_of_their_own():
    found = figures_command._file_names(["a b", "a/b", "A b", "digits/mlp"])
    assert list(found.values()) == ["a_b", "a_b_2", "A_b_3", "digits_mlp"]


@pytest.mark.slow
def test_the_command_of_figures(finished_copy, capsys, monkeypatch):
    monkeypatch.setattr(figures_command, "_FORMATS", {"pdf": {}})
    assert run_command(figures_command.main, ["suite=smoke", *SUITE_SIZE, f"results_dir={finished_copy}"]) == 0
    assert {"leaderboard.pdf", "curves_digits_mlp.pdf"} <= {p.name for p in (finished_copy / "figures").iterdir()}
    assert "wrote" in capsys.readouterr().out
    shutil.rmtree(finished_copy)
    assert run_command(figures_command.main, ["suite=smoke", *SUITE_SIZE, f"results_dir={finished_copy}"]) == 1
    assert "nothing to draw" in capsys.readouterr().out
