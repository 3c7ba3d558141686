"""The changelog names the current version of everything that decides whether two results may be put side by side.

Versions are found by a search in the text of the code, wherever a module stands.
"""

import ast
import datetime
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
DOCUMENTS = {  # the beginning of the path of the module that makes it
    "bench/store": "the store",
    "bench/leaderboard": "leaderboard.json",
    "bench/claims/": "claims.json",
    "bench/published": "published_NAME.json",
    "bench/archive": "manifest.json",
    "bench/exchange/": "manifest.json",
    "bench/speed/__main__": "speed.json",
    "bench/speed/plain_matrix": "plain_matrix.json",
}
SCHEMA = re.compile(r"^(?:\w+, )*SCHEMA_VERSION(?:: \w+)? = (?:.*, )?(\d+)\b", re.MULTILINE)
NUMERICS = re.compile(r"^NUMERICS(?:: [^=]+)? = (\{.*\})", re.MULTILINE)
NAMED = re.compile(r"(?:numerics|suite|schema of)(?: \w[\w.]*)+? \d+(?=[,:.]| and )")


def in_the_code():
    """{"schema of the store": 2, "numerics eager": 1, "suite default": 2, ...}"""
    versions = {}
    for path in sorted((ROOT / "bench").rglob("*.py")):
        text, name = path.read_text(), path.relative_to(ROOT).as_posix()
        for version in SCHEMA.findall(text):
            document = next((document for start, document in DOCUMENTS.items() if name.startswith(start)), None)
            assert document, f"{name} has a SCHEMA_VERSION: which document is it of? Enter it in DOCUMENTS"
            assert f"schema of {document}" not in versions, f"two numbers for one document: {name}"
            versions[f"schema of {document}"] = int(version)
        for numbers in NUMERICS.findall(text):
            versions |= {f"numerics {engine}": number for engine, number in ast.literal_eval(numbers).items()}
    for path in sorted((ROOT / "conf" / "suite").glob("*.yaml")):
        for version in re.findall(r"^version: (\d+)", path.read_text(), re.MULTILINE):
            versions[f"suite {path.stem}"] = int(version)
    return versions


def in_the_changelog():
    """name -> every version that a line under **Versions** names, newest first."""
    versions = {}
    for block in re.findall(r"^### Versions\n(.*?)(?=^#|\Z)", CHANGELOG, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            for name, version in (text.rsplit(" ", 1) for text in NAMED.findall(line) if line.startswith("- ")):
                versions.setdefault(name, []).append(int(version))
    return versions


def test_every_version_of_the_code_is_named_and_no_newer_one():
    code, log = in_the_code(), in_the_changelog()
    assert {"schema of the store", "schema of manifest.json", "numerics eager", "suite default"} <= code.keys()
    assert {name: versions[0] for name, versions in log.items()} == code


def test_every_version_since_the_first_is_named_once():
    for name, versions in in_the_changelog().items():
        assert versions == list(range(versions[0], 0, -1)), name


def test_the_newest_comes_first():
    dates = [datetime.date.fromisoformat(date) for date in re.findall(r"^## (\S+)$", CHANGELOG, re.MULTILINE)]
    assert len(dates) >= 4 and dates == sorted(set(dates), reverse=True)
    assert set(re.findall(r"^### (.*)$", CHANGELOG, re.MULTILINE)) <= {
        *("Versions", "Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
    }
