"""Commands in processes whose home cannot be written, or whose user has neither a home nor a name."""

import os
import shutil
import subprocess
import sys

import pytest

from shb.folders import cache_folder
from shb.training import why_not
from tests.bench.conftest import ROOT

NAMELESS = "import pwd; pwd.getpwuid = {}.__getitem__"  # as for a container's user who is in no table
CELL = ["problem=e1", "optimizer=shb", "seeds=2", "steps=20", "device=cpu", "logger=none"]
RUN = """
import sys
from bench import run, verify
from bench.command import run_command
store, *engines = sys.argv[1:]
codes = [run_command(run.main, [*CELL, f"engine={engine}", store]) for engine in engines]
print("codes", *codes, run_command(verify.main, [store, "n=4"]))
"""


def call(folder, home, *arguments):
    """Output and errors of RUN in that environment; `home` None: no home, no name."""
    gone = ("HOME", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "SHB_TEMPORARY_FOLDER", "USER", "LOGNAME", "LNAME")
    environment = {name: value for name, value in os.environ.items() if name not in (*gone, "USERNAME")}
    environment |= {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT)} | ({"HOME": home} if home else {})
    code = f"CELL = {CELL}\n{'' if home else NAMELESS}\n{RUN}"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    return done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs user ids")
@pytest.mark.parametrize("home", ["/dev/null", None], ids=["unwritable", "nameless"])
def test_a_cell_is_computed_and_checked(tmp_path, home):
    store, own = f"results_dir={tmp_path / 'results'}", tmp_path / f"shb-{os.getuid()}"
    engines = ["eager"] if why_not() else ["eager", "compiled"]
    own.mkdir(mode=0o700)
    if why_not() is None:  # as if built there before: that takes 20 s
        shutil.copytree(cache_folder() / "kernels", own / "kernels")
    out, err = call(tmp_path, home, store, *engines)
    computed = 2 * len(engines)
    assert f"codes {' '.join('0' * len(engines))} 0" in out
    assert f"{computed} of {computed} checked: {computed} equal to the bit" in out
    assert err.count("\n") == 1 and str(own) in err
