"""A wheel has every file of the packages; `shb` works from it, and a command of `bench` says what it needs."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("setuptools", reason="builds a wheel")
ROOT = Path(__file__).resolve().parent.parent


def files(folder):
    """Relative paths of what a package has."""
    return {p.relative_to(folder) for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The wheel, unpacked as an installer does it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a build leaves files where it runs
    for package in ("shb", "bench"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", *offline, "--wheel-dir", folder, source]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def run(site, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=site.parent, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("package", ["shb", "bench"])
def test_every_file_of_a_package_is_in_the_wheel(site, package):
    assert files(site / package) == files(ROOT / package)


@pytest.mark.slow
def test_the_library_works_from_the_wheel(site):
    step = "import torch; w = torch.ones(1, requires_grad=True); o = shb.SHB([w], lr=0.5); w.sum().backward(); o.step()"
    sources = "from shb.kernels.library import SOURCE; assert SOURCE.is_file()"
    done = run(site, "-c", f"import bench, shb; {step}; {sources}; print(shb.__file__, bench.__file__, w.item())")
    assert done.stdout.split() == [str(site / "shb/__init__.py"), str(site / "bench/__init__.py"), "0.5"], done.stderr


@pytest.mark.parametrize(
    "given", [("-m", "bench.run", "seeds=2"), ("-mbench.leaderboard",), ("-m", "bench.claims", "-m")]
)
def test_a_command_of_the_wheel_says_that_it_needs_a_checkout(site, given):
    done = run(site, *given)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: bench={site / 'bench'}: allowed is the folder of a checkout")


def test_a_module_of_somebody_else_may_import_bench(site):
    (site.parent / "own").mkdir()
    (site.parent / "own" / "__init__.py").write_text("import bench")
    (site.parent / "own" / "tool.py").write_text("print('works')")
    done = run(site, "-m", "own.tool", "bench.run")
    assert (done.returncode, done.stdout, done.stderr) == (0, "works\n", "")
