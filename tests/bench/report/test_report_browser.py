"""The page in a headless Chromium: sorting, toggles, values of seeds, no error, no request, nothing injected.

Skipped where selenium, Chromium or its driver is missing.
"""

import hashlib
import json
import shutil
import time
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from bench.execution.record import failed_rows
from bench.leaderboard.document import leaderboard
from bench.report.board import boards
from bench.report.data import gather
from bench.report.page import LIMIT, build_page
from bench.store.store import Store
from bench.suite.suite import load_suite
from tests.bench.conftest import ROOT, SUITE_SIZE
from tests.bench.planted import curve_of
from tests.bench.report import browser
from tests.bench.report.report_fixture import full_document
from tests.bench.report.test_report import EVIL, report_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(browser.why_no_browser()), reason=browser.why_no_browser() or "-"),
]
if not browser.why_no_browser():
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

MEMBERS = 50_000


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with browser.chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def report(finished):
    """A complete suite whose leaderboard has every section."""
    return report_of(finished, full=True)


@pytest.fixture(scope="module")
def page(report, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(build_page(report))
    return path


@pytest.fixture
def opened(driver, page):
    browser.open_page(driver, page)
    yield driver
    assert browser.console(driver) == []


def names(driver, problem):
    rows = driver.find_elements(By.CSS_SELECTOR, f'.board[data-problem="{problem}"] tbody tr')
    return [row.find_element(By.TAG_NAME, "th").get_attribute("data-value") for row in rows]


def press(driver, identifier):
    driver.execute_script("arguments[0].click()", driver.find_element(By.ID, identifier))


def tap(driver, x, y):
    touch = "Input.dispatchTouchEvent"
    driver.execute_cdp_cmd(touch, {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    driver.execute_cdp_cmd(touch, {"type": "touchEnd", "touchPoints": []})
    time.sleep(0.5)  # until the browser knows that it is no double tap


def choose(driver, identifier, value):
    driver.execute_script(
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'))",
        driver.find_element(By.ID, identifier),
        value,
    )


def search(driver, words):
    box = driver.find_element(By.ID, "member-search")
    driver.execute_script(
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))", box, words
    )
    time.sleep(0.3)  # it waits for the end of typing
    return driver.find_element(By.ID, "member-count").text


def test_the_page_asks_for_nothing(driver, page):
    browser.open_page(driver, page)
    for identifier in ("curves", "claims", "members", "cite"):
        driver.execute_script("document.getElementById(arguments[0]).scrollIntoView()", identifier)
    asked = [url for url in browser.requests(driver) if not url.startswith("data:")]
    assert asked == [page.as_uri()] and browser.console(driver) == []


def test_the_policy_forbids_the_network_and_foreign_scripts(driver, page):
    """The test of the test above: what it would see, and that the browser refuses it."""
    browser.open_page(driver, page)
    outcome = driver.execute_async_script(
        """const done = arguments[0], seen = [];
        document.addEventListener('securitypolicyviolation', (event) => seen.push(event.effectiveDirective));
        const script = document.createElement('script');
        script.textContent = 'window.pwned = 1';
        document.body.append(script);
        fetch('https://example.invalid/x').then(() => seen.push('fetched'), () => 0)
          .then(() => setTimeout(() => done([seen, window.pwned ?? 0]), 100));"""
    )
    assert sorted(outcome[0]) == ["connect-src", "script-src-elem"] and outcome[1] == 0
    assert browser.console(driver)  # a violation is an error of the console: the other tests would fail


def test_sorting_by_pointer_and_keyboard(opened, report):
    board = boards(report)[0]
    problem, metric = board["problem"], board["metrics"][1]
    best_first = [line["optimizer"] for line in board["lines"]]
    assert names(opened, problem) == best_first
    (header,) = [
        h
        for h in opened.find_elements(By.CSS_SELECTOR, f'.board[data-problem="{problem}"] thead th')
        if h.text.startswith(metric["label"])
    ]
    by_loss = sorted(board["lines"], key=lambda line: line["cells"][1]["median"])
    header.find_element(By.TAG_NAME, "button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert names(opened, problem) == [line["optimizer"] for line in by_loss]
    header.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert header.get_attribute("aria-sort") == "descending"
    assert names(opened, problem) == [line["optimizer"] for line in by_loss[::-1]]
    sorted_headers = opened.find_elements(By.CSS_SELECTOR, f'.board[data-problem="{problem}"] [aria-sort$="scending"]')
    assert len(sorted_headers) == 1


def test_ties_are_visible(opened, report):
    for board in boards(report):
        rows = opened.find_elements(By.CSS_SELECTOR, f'.board[data-problem="{board["problem"]}"] tbody tr')
        ranks = [row.find_element(By.CLASS_NAME, "rank").text.split() for row in rows]
        assert [rank[:2] for rank in ranks] == [["1-2", "A"], ["1-2", "A"], ["3", "B"]]
        colours = [row.find_element(By.TAG_NAME, "td").value_of_css_property("background-color") for row in rows]
        assert colours[0] == colours[1] != colours[2]


def expected_text(metric, value):
    if value is None:
        return None
    return f"{100 * value:.2f} %" if "accuracy" in metric else f"{value:g}" if metric == "steps_to_target" else None


def test_hovering_shows_the_values_of_all_seeds(opened, report):
    box = opened.find_element(By.ID, "seed-values")
    assert not box.is_displayed()
    checked = 0
    for button in opened.find_elements(By.CSS_SELECTOR, "button[data-seeds]"):
        seeds = report.seeds[int(button.get_attribute("data-seeds"))]
        opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
        ActionChains(opened).move_to_element(button).perform()
        assert box.is_displayed()
        items = [item.text.replace("\n", " ") for item in box.find_elements(By.TAG_NAME, "li")]
        assert len(items) == len(seeds.seeds)
        for item, seed, value in zip(items, seeds.seeds, seeds.values):
            text = expected_text(seeds.metric, value)
            assert item.startswith(f"seed {seed} ") and (text is None or item == f"seed {seed} {text}")
            if text is None and value is not None:
                assert float(item.split()[-1]) == pytest.approx(value, rel=1e-3)
            checked += value is not None
    assert checked > 40
    ActionChains(opened).move_to_element(opened.find_element(By.TAG_NAME, "h1")).perform()
    assert not box.is_displayed()


def test_a_tap_keeps_the_values_open_on_a_phone(driver, page):
    browser.open_page(driver, page, 390, 844, mobile=True)
    button = driver.find_element(By.CSS_SELECTOR, "button[data-seeds]")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    x, y = driver.execute_script("const r = arguments[0].getBoundingClientRect(); return [r.x + 9, r.y + 9]", button)
    box = driver.find_element(By.ID, "seed-values")
    tap(driver, x, y)
    assert box.is_displayed() and button.get_attribute("aria-expanded") == "true"
    place = box.rect
    assert place["x"] >= 0 and place["x"] + place["width"] <= 390
    tap(driver, x, y)
    assert not box.is_displayed()
    assert browser.console(driver) == []


PICTURE = "return document.querySelector('#%s canvas').toDataURL()"


def test_toggles_of_curves(opened, report):
    shown = "return report.charts.curves.shown()"
    all_of_them = opened.execute_script(shown)
    assert all_of_them == report.optimizers
    before = opened.execute_script(PICTURE % "curve-chart")
    button = opened.find_element(By.CSS_SELECTOR, '#curve-chart button[data-series="shb"]')
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert opened.execute_script(shown) == [name for name in all_of_them if name != "shb"]
    time.sleep(0.2)
    without = opened.execute_script(PICTURE % "curve-chart")
    assert without != before
    button.send_keys(Keys.SPACE)
    assert opened.execute_script(shown) == all_of_them
    for identifier, axis in (("curve-x", "x"), ("curve-y", "y")):
        scale = f"return report.charts.curves.plot().scales.{axis}.distr"
        assert opened.execute_script(scale) == 1
        press(opened, identifier)
        assert opened.execute_script(scale) == 3
    time.sleep(0.2)
    plain = opened.execute_script(PICTURE % "curve-chart")
    press(opened, "curve-seeds")
    time.sleep(0.2)
    assert opened.execute_script(PICTURE % "curve-chart") != plain


def test_values_under_the_pointer_and_by_keyboard(opened, report):
    choose(opened, "curve-problem", "diabetes/mlp")
    choose(opened, "curve-metric", "val_loss")
    (own,) = [c for c in report.curves if (c.problem, c.optimizer, c.metric) == ("diabetes/mlp", "sgd", "val_loss")]
    reading = opened.find_element(By.CSS_SELECTOR, '#curve-chart button[data-series="sgd"] .reading')
    assert float(reading.text.split()[0]) == pytest.approx(own.lines[3][-1], rel=1e-3)
    frame = opened.find_element(By.CSS_SELECTOR, "#curve-chart .plot")
    frame.send_keys(Keys.ARROW_RIGHT)
    assert opened.find_element(By.CSS_SELECTOR, "#curve-chart .where").text == f"step {own.steps[0]}"
    numbers = [float(word.strip("[],")) for word in reading.text.split()]
    assert numbers == pytest.approx([own.lines[i][0] for i in (3, 2, 4)], rel=1e-3)
    over = opened.find_element(By.CSS_SELECTOR, "#curve-chart .u-over")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", over)
    ActionChains(opened).move_to_element(over).perform()
    assert opened.find_element(By.CSS_SELECTOR, "#curve-chart .where").text == f"step {own.steps[len(own.steps) // 2]}"


def test_sensitivity_and_profiles(opened, report):
    assert opened.execute_script("return report.charts.profiles.plot().series.length") == 1 + 3 * len(report.optimizers)
    choose(opened, "sensitivity-problem", "diabetes/mlp")
    choose(opened, "sensitivity-against", "momentum")
    assert opened.execute_script("return report.charts.sensitivity.shown()") == ["shb"]
    assert opened.execute_script("return report.charts.sensitivity.plot().scales.x.distr") == 1
    x = opened.execute_script("return report.charts.sensitivity.plot().data[0]")
    assert len(x) == 4 and x == sorted(x)


def test_members_can_be_found_sorted_and_reproduced(opened, report):
    total = len(report.members)
    assert search(opened, "") == f"1 to 25 of {total} members"
    press(opened, "member-next")
    assert opened.find_element(By.ID, "member-count").text.startswith("26 to 50 ")
    row = report.members.filter((pl.col("optimizer") == "adam") & (pl.col("phase") == "evaluation")).row(1, named=True)
    assert search(opened, row["member_id"]) == f"1 to 1 of 1 members ({total} in all)"
    button = opened.find_element(By.CSS_SELECTOR, "#member-table button.link")
    opened.execute_script("arguments[0].click()", button)
    spec = opened.find_element(By.CLASS_NAME, "spec").get_attribute("textContent")
    assert spec == row["spec"] and hashlib.sha256(spec.encode()).hexdigest()[:16] == row["member_id"]
    command = opened.find_element(By.CLASS_NAME, "command").text
    assert command == f"python -m bench.reproduce {row['member_id']} results_dir={report.folder}"
    details = opened.find_element(By.CLASS_NAME, "details").text
    for name in ("code_commit", "torch", "cpu", "python", "created"):
        assert str(row[name]) in details
    assert search(opened, "adam tuning 1000001") == f"1 to 8 of 8 members ({total} in all)"
    assert search(opened, "no such words") == f"none of {total} members"
    search(opened, "evaluation digits")
    for header in opened.find_elements(By.CSS_SELECTOR, "#member-table thead th"):
        if header.text.startswith("training objective"):
            opened.execute_script("arguments[0].click()", header.find_element(By.TAG_NAME, "button"))
            assert header.get_attribute("aria-sort") == "ascending"
    losses = report.members.filter((pl.col("phase") == "evaluation") & (pl.col("problem") == "digits/mlp"))
    first = opened.find_element(By.CSS_SELECTOR, "#member-table tbody button.link").text
    assert first == losses.sort("train_loss")["member_id"][0]


def test_a_member_can_be_linked_to(driver, page, report):
    member = report.members["member_id"][3]
    browser.open_page(driver, page)
    driver.get(f"{page.as_uri()}#member={member}")
    driver.refresh()
    time.sleep(0.5)
    assert driver.find_element(By.CSS_SELECTOR, "#member-table button.link").text == member
    assert driver.find_element(By.CLASS_NAME, "command").is_displayed()


def test_nothing_is_too_wide_or_too_small_on_a_phone(driver, page):
    for width in (390, 1280):
        browser.open_page(driver, page, width, 844, mobile=width == 390)
        driver.execute_script("document.querySelectorAll('details').forEach((details) => { details.open = true })")
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
        small = driver.execute_script(
            """const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), small = [];
            while (walker.nextNode()) {
              const parent = walker.currentNode.parentElement;
              if (!walker.currentNode.textContent.trim() || ['SCRIPT', 'STYLE'].includes(parent.tagName)) continue;
              if (parseFloat(getComputedStyle(parent).fontSize) < 12) small.push(walker.currentNode.textContent);
            }
            return small"""
        )
        assert small == []
    assert browser.console(driver) == []


def test_hostile_names_stay_text(driver, finished_copy, tmp_path):
    store = Store(finished_copy)
    suite = load_suite("smoke", [*SUITE_SIZE, f"results_dir={finished_copy}"])
    cell = suite.tuning_cell("digits/mlp", "sgd")
    hostile = failed_rows(cell, [0], EVIL)[0] | {"member_id": "feed" * 4, "problem": EVIL, "cpu": EVIL}
    store.write([hostile], [])
    claims = json.loads((ROOT / "results/reference/claims/claims.json").read_text())
    claims["claims"][0] |= {"title": EVIL, "family": EVIL, "verdict": EVIL}
    claims["failures"] = {EVIL: EVIL}
    (finished_copy / "claims").mkdir()
    (finished_copy / "claims" / "claims.json").write_text(json.dumps(claims))
    own = full_document(leaderboard(suite.plan(store.members()), store), suite, store)
    report = gather(suite.plan(store.members()), store, own)
    seeds = [replace(s, problem=EVIL) for s in report.seeds]
    curves = [replace(c, problem=EVIL) for c in report.curves]
    path = tmp_path / "index.html"
    path.write_text(build_page(replace(report, seeds=seeds, curves=curves, folder=tmp_path / EVIL.replace("/", ""))))
    browser.open_page(driver, path)
    assert search(driver, "feedfeed").startswith("1 to 1 ")
    driver.execute_script("document.querySelector('#member-table button.link').click()")
    assert EVIL in driver.find_element(By.CLASS_NAME, "details").text
    assert EVIL in driver.find_element(By.ID, "missing").text
    driver.execute_script("document.querySelectorAll('details').forEach((details) => { details.open = true })")
    assert EVIL in driver.find_element(By.ID, "claims").text
    assert driver.execute_script("return document.getElementById('curve-problem').value") == EVIL
    assert driver.execute_script("return window.pwned ?? 0") == 0
    assert driver.execute_script("return document.querySelectorAll('img').length") == 0
    assert browser.console(driver) == []


def test_a_page_without_claims_says_so(opened):
    assert "No claims were run" in opened.find_element(By.ID, "claims").text


def test_a_page_of_an_incomplete_suite(driver, finished_copy, tmp_path):
    kept = Store(finished_copy).members().filter(pl.col("optimizer") != "adam")
    shutil.rmtree(finished_copy / "members")
    Store(finished_copy).write(kept.to_dicts(), [])
    path = tmp_path / "index.html"
    path.write_text(build_page(report_of(finished_copy)))
    browser.open_page(driver, path)
    assert "24 planned members are missing" in driver.find_element(By.ID, "incomplete").text
    assert driver.find_element(By.ID, "coverage").is_displayed()
    assert driver.execute_script("return report.charts.curves.shown()") == ["sgd", "shb"]
    assert "no performance profiles" in driver.find_element(By.ID, "profiles").text
    assert "no ranks" in driver.find_element(By.ID, "leaderboard").text or driver.find_elements(By.CLASS_NAME, "tie")
    assert browser.console(driver) == []


def test_an_old_browser_still_shows_the_tables(driver, page):
    script = driver.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument", {"source": "delete window.DecompressionStream"}
    )
    try:
        driver.get(page.as_uri())
        assert "too old" in driver.find_element(By.ID, "alert").text
        assert len(names(driver, "digits/mlp")) == 3
    finally:
        driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": script["identifier"]})


def test_fifty_thousand_members(driver, finished_copy, tmp_path, capsys):
    """Below 10 MB with the claims of the reference run; load and search times are printed, not judged."""
    store = Store(finished_copy)
    generator = np.random.default_rng(0)
    reference = Store(ROOT / "results" / "reference").members().filter(pl.col("status") == "done")
    many = reference.sample(MEMBERS, with_replacement=True, seed=0)
    rows = np.arange(MEMBERS)
    lr = [float(f"{value:.4g}") for value in 10 ** generator.uniform(-4, 0, MEMBERS // 3 + 1)]  # a trial has 3 seeds
    specs = []
    for i, text in enumerate(many["spec"].to_list()):
        spec = json.loads(text)
        spec["hyperparameters"]["lr"], spec["seed"] = lr[i // 3], i
        specs.append(json.dumps(spec, sort_keys=True, separators=(",", ":")))
    many = many.with_columns(
        pl.Series("spec", specs),
        pl.Series("member_id", [hashlib.sha256(spec.encode()).hexdigest()[:16] for spec in specs]),
        pl.Series("seed", rows),
        *(pl.Series(name, generator.lognormal(size=MEMBERS)) for name in ("train_loss", "val_loss", "test_loss")),
        *(pl.Series(n, generator.uniform(size=MEMBERS)) for n in ("train_accuracy", "val_accuracy", "test_accuracy")),
    )
    store.write([], curve_of(many.select("member_id", "status").to_dicts()))
    store.write_frame("members", many)
    shutil.copytree(ROOT / "results" / "reference" / "claims", finished_copy / "claims")
    report = report_of(finished_copy)
    started = time.perf_counter()
    html = build_page(report).encode()
    built = time.perf_counter() - started
    path = tmp_path / "index.html"
    path.write_bytes(html)
    assert len(report.members) > MEMBERS and len(html) < LIMIT
    milliseconds = browser.open_page(driver, path, seconds=120)
    seconds = "const t = performance.now(); %s; return performance.now() - t"
    wait = "const done = arguments[0], box = document.getElementById('member-search'); box.value = 'adam e7 other';"
    driver.set_script_timeout(60)
    found = driver.execute_async_script(
        wait + "box.dispatchEvent(new Event('input')); const t = performance.now();"
        "const old = document.getElementById('member-count').textContent;"
        "(function look() { document.getElementById('member-count').textContent !== old"
        " ? done(performance.now() - t) : setTimeout(look, 1); })()"
    )
    ordering = driver.execute_script(seconds % "document.querySelectorAll('#member-table thead button')[6].click()")
    assert driver.execute_script("return document.querySelectorAll('#member-table tbody tr').length") == 25
    assert f"({len(report.members):,} in all)" in driver.find_element(By.ID, "member-count").text
    assert browser.console(driver) == []
    with capsys.disabled():
        print(
            f"\npage of {len(report.members):,} members: {len(html) / 1e6:.2f} MB, built in {built:.1f} s, "
            f"ready after {milliseconds} ms, search {found - 120:.0f} ms, sort {ordering:.0f} ms"
        )
