"""Every wrong input: exit code 2, one line that names field, value and what is allowed, and an untouched store."""

import os
import subprocess
import sys

import polars as pl
import pytest
import torch

from bench.command import run_command
from bench.run import main
from bench.store.schema import MEMBER_SCHEMA, SCHEMA_VERSION
from bench.store.store import Store
from tests.bench.conftest import ROOT
from tests.bench.shards import write_shard

UNKNOWN_OPTION = [  # override, nearest match
    ("optimizer=shbb", "shb"),
    ("dataset=digit", "digits"),
    ("model=mpl", "mlp"),
    ("schedule=powr", "power"),
    ("momentum_schedule=second_ordr", "second_order"),
    ("clip=nrom", "norm"),
    ("init=kaimin", "kaiming"),
    ("suite=smok", "smoke"),
    ("loss=sqared", "squared"),
    ("sampling=iidd", "iid"),
    ("dtype=float31", "float32"),
    ("dtype=flot16", "float16"),
    ("device=cudaa", "cuda"),
    ("logger=wandbb", "wandb"),
    ("velocity=norml", "normal"),
    ("relu_rule=chian", "chain"),
    ("model.hidden=[] relu_rule=injectd", "injected"),
    ("problem=e1 relu_rule=chian", "chain"),
    ("problem=learnin", "learning"),
]
WRONG_VALUE = [  # arguments, field=value as the message has it, part of what is allowed
    ("optimizer.lrr=1", "optimizer.lrr=1", "(did you mean optimizer.lr?)"),
    ("optimizer.lr.x=1", "optimizer.lr.x=1", "(did you mean optimizer.lr?)"),
    ("foo=1", "foo=1", "one of batch_size, clip, data_root"),
    ("+foo=1", "foo=1", "one of batch_size, clip, data_root"),
    (
        "model=cnn model.hidden=[3]",
        "model.hidden=[3]",
        "model.channels model.kernel model.downsample model.pool_beta model.norm: this field",
    ),
    ("init.std=1", "init.std=1", "nothing: this field does not apply for init=auto"),
    ("init=normal init.std=[1,2]", "init.std=[1.0, 2.0]", "one number"),
    ("init=point init.value=[1,2]", "init.value=[1.0, 2.0]", "one number"),
    ("init=point init.value=null", "init.value=None", "a finite number"),
    ("init=kaiming init.std=1", "init.std=1", "nothing: this field does not apply for init=kaiming"),
    ("init=point init.std=1", "init.std=1", "init.value: this field does not apply for init=point"),
    ("optimizer=sgd optimizer.momentum=0.5", "optimizer.momentum=0.5", "does not apply for optimizer=sgd"),
    ("problem.b=3", "problem.b=3", "nothing: this field does not apply for problem=learning"),
    ("seeds=abc", "seeds=abc", "a whole number"),
    ("seeds=1.5", "seeds=1.5", "a whole number"),
    ("seeds=true", "seeds=True", "a whole number"),
    ("seeds=", "seeds=", "a whole number"),
    ("seeds=1,2", "seeds=1,2", "one value, or a matrix with -m"),
    ("seeds", "override=seeds", "name=value"),
    ("steps=[1]", "steps=[1]", "a whole number or null"),
    ("epochs=abc", "epochs=abc", "a number or null"),
    ("download=maybe", "download=maybe", "true or false"),
    ("dtype=null", "dtype=None", "a text"),
    ("optimizer.lr=abc", "optimizer.lr=abc", "a finite number or a list of them"),
    ("optimizer.lr=[0.1,abc]", "optimizer.lr=abc", "a finite number or a list of them"),
    ("optimizer.lr=nan", "optimizer.lr=nan", "a finite number"),
    ("optimizer.lr=[]", "optimizer.lr=[]", "a non-empty list of numbers"),
    ("optimizer.weight_decay=-1", "optimizer.weight_decay=-1.0", "a number >= 0"),
    ("optimizer.decoupled=1", "optimizer.decoupled=1", "true or false"),
    ("clip.at=1", "clip.at=1", "nothing: this field does not apply for clip=none"),
    ("~optimizer.lr", "optimizer.lr=(deleted)", "a value: a field cannot be deleted"),
    ("model.hidden=[1000000000000]", "model.hidden=1000000000000", "<= 10^6"),
    ("optimizer.lr=???", "optimizer.lr=???", "a value: this one is missing"),
    ("schedule=power schedule.q=???", "schedule.q=???", "a value: this one is missing"),
    ("init=normal init.std=???", "init.std=???", "a value: this one is missing"),
    ("optimizer.lr={a:1}", "optimizer.lr={'a': 1}", "a finite number or a list of them"),
    ("optimizer.lr=", "optimizer.lr=", "a finite number or a list of them"),
    ("~model.hidden", "model.hidden=(deleted)", "a value: a field cannot be deleted"),
    ("suite=smoke ~model.hidden", "model.hidden=(deleted)", "a value: a field cannot be deleted"),
    ("~seeds", "seeds=(deleted)", "a value: a field cannot be deleted"),
    ("~optimizer", "optimizer=(deleted)", "a value: a field cannot be deleted"),
    ("~optimizer.name", "optimizer.name=(deleted)", "a value: a field cannot be deleted"),
    ("~velocity=zero", "velocity=(deleted)", "a value: a field cannot be deleted"),
    ("suite=smoke ~plugins", "plugins=(deleted)", "a value: a field cannot be deleted"),
    ("seeds=${nope}", "seeds=${nope}", "a value itself"),
    ("optimizer.lr=${seeds}", "optimizer.lr=${seeds}", "a value itself"),
    ("optimizer.lr=[1,${seeds}]", "optimizer.lr=[1,${seeds}]", "a value itself"),
    ("optimizer=${model}", "optimizer=${model}", "a value itself"),
    ("suite=smoke steps=${seeds}", "steps=${seeds}", "a value itself"),
    ("-m steps=1 seeds=${steps}", "seeds=${steps}", "a value itself"),
    ("model.hidden={a:1}", "model.hidden={a:1}", "a value of the kind that stands in conf/model"),
    ("optimizer={a:1}", "optimizer={a:1}", "optimizer.lr optimizer.momentum"),
    ("logger={a:1}", "logger={a:1}", "nothing: this field does not apply for logger=none"),
    ("optimizer=[shb]", "optimizer=[shb]", "one of adam"),
    ("optimizer=null", "optimizer=null", "one of adam"),
    ("optimizer=", "optimizer=", "one of adam"),
    ("model=3", "model=3", "one of adapter, cnn"),
    ("model.norm=bach", "model.norm=bach", "(did you mean batch?)"),
    ("model.norm=batch batch_size=1", "batch_size=1", "at least 2 with model.norm=batch"),
    ("model.norm=layer model.hidden=[1]", "model.norm=layer", "none or batch for a layer of one feature"),
    ("problem=e15 problem.oracle=gradient dtype=float32", "dtype=float32", "float64 with problem.oracle=gradient"),
    ("model=transformer dataset=digits model.patch=3", "model.patch=3", "one of 1, 2, 4, 8: patches must fill"),
    ("model=transformer dataset=digits model.heads=3", "model.width=32", "a multiple of model.heads=3"),
    ("model=transformer dataset=digits model.depth=0", "model.depth=0", "a number of blocks from 1 to 200"),
    ("model=transformer dataset=diabetes", "model=transformer", "mlp for data without a spatial dimension"),
    ("seeds=range(1,3)", "seeds=range(1,3)", "one value, or a matrix with -m"),
    ("batch_size=1e30", "batch_size=1e+30", "a whole number"),
    ("suite=smoke +model.foo=1", "model.foo=1", "model.hidden model.norm: this field does not apply for model=mlp"),
    ("suite=smoke +suite.x=1", "suite.x=1", "suite.optimizers"),
    ("-m optimizer=sgd +optimizer.momentum=0.9", "optimizer.momentum=0.9", "does not apply for optimizer=sgd"),
    ("optimizer.allow_unstable=maybe", "optimizer.allow_unstable=maybe", "true or false"),
    ("model.hidden=[a]", "model.hidden=['a']", "a list of whole numbers"),
    ("model.hidden=32", "model.hidden=32", "a list of whole numbers"),
    ("model.hidden=[0]", "model.hidden=[0]", "a list of widths >= 1"),
    ("model=cnn model.kernel=[3]", "model.kernel=[3]", "a whole number"),
    ("model=cnn model.kernel=2", "model.kernel=2", "an odd number >= 1"),
    ("optimizer.lr=-1", "optimizer.lr=-1.0", "a number > 0"),
    ("optimizer.lr=0", "optimizer.lr=0.0", "a number > 0"),
    ("optimizer.lr=[0.1,0]", "optimizer.lr=0.0", "a number > 0"),
    ("optimizer=adam optimizer.beta2=1", "optimizer.beta2=1.0", "a number in [0, 1)"),
    ("optimizer=adam optimizer.eps=-1", "optimizer.eps=-1.0", "a number >= 0"),
    ("optimizer=torch_momentum optimizer.dampening=1", "optimizer.dampening=1.0", "a number in [0, 1)"),
    ("optimizer.momentum=1", "optimizer.momentum=1.0", "(-1, 1), or any with optimizer.allow_unstable=true"),
    ("optimizer.momentum=-1.5", "optimizer.momentum=-1.5", "(-1, 1), or any with optimizer.allow_unstable=true"),
    ("momentum_schedule=inverse_log", "optimizer.momentum=0.9", "the first is 1.298"),
    (
        "momentum_schedule=second_order momentum_schedule.r=10 optimizer.lr=0.04",
        "momentum_schedule.r=10.0",
        "a number < 10 = 2 / sqrt(lr), or any with optimizer.allow_unstable=true",
    ),
    ("seeds=0", "seeds=0", "a whole number >= 1"),
    ("seed_offset=-1", "seed_offset=-1", "a whole number >= 0"),
    ("steps=0", "steps=0", "a whole number >= 1"),
    ("epochs=0", "epochs=0.0", "a number > 0"),
    ("epochs=inf", "epochs=inf", "a number > 0"),
    ("steps=2 epochs=1", "epochs=1.0", "null when steps is given (steps=2)"),
    ("batch_size=0", "batch_size=0", "1..1149, the training part of digits"),
    ("batch_size=1150", "batch_size=1150", "1..1149, the training part of digits"),
    ("dataset=diabetes loss=cross_entropy", "loss=cross_entropy", "squared for regression data"),
    ("relu_derivative=2", "relu_derivative=2.0", "a number in [0, 1]"),
    ("problem=e1 relu_derivative=2", "relu_derivative=2.0", "a number in [0, 1]"),
    ("model.hidden=[] relu_derivative=2", "relu_derivative=2.0", "a number in [0, 1]"),
    ("velocity=normal optimizer=sgd", "velocity=normal", "zero for optimizer=sgd; only shb has a velocity"),
    ("velocity=normal velocity.std=-1", "velocity.std=-1.0", "a number > 0 (velocity=zero for 0)"),
    ("velocity=normal velocity.std=0", "velocity.std=0.0", "a number > 0 (velocity=zero for 0)"),
    ("velocity=normal velocity.std=abc", "velocity.std=abc", "a finite number"),
    ("velocity.std=1", "velocity.std=1", "nothing: this field does not apply for velocity=zero"),
    ("velocity_std=1", "velocity_std=1", "one of batch_size"),
    ("relu_at_zero=1", "relu_at_zero=1", "one of batch_size"),
    ("model=cnn dataset=digits model.pool_beta=abc", "model.pool_beta=abc", "a finite number"),
    ("model=vgg dataset=mnist model.pool_beta=[1]", "model.pool_beta=[1]", "a finite number"),
    ("evaluations=0", "evaluations=0", "a whole number >= 1"),
    ("threads=0", "threads=0", "a whole number >= 1"),
    ("memory=0", "memory=0.0", "a number of GiB > 0"),
    ("init=normal init.std=-1", "init.std=-1.0", "a number > 0"),
    ("init=point init.value=abc", "init.value=abc", "a finite number"),
    ("schedule=power schedule.q=-1", "schedule.q=-1.0", "0 .. 100"),
    ("momentum_schedule=power optimizer=sgd", "momentum_schedule=power", "constant for optimizer=sgd"),
    ("momentum_schedule=second_order optimizer=sgd", "momentum_schedule=second_order", "constant"),
    ("momentum_schedule=second_order momentum_schedule.r=0", "momentum_schedule.r=0", "a number > 0"),
    ("problem=e1 init=kaiming", "init=kaiming", "one of normal, uniform, point, zeros for problem=e1"),
    ("init=uniform", "init=uniform", "one of auto, identity, kaiming"),
    ("problem=e1 init=uniform init.low=3", "init.low=3.0", "a number < init.high=1.0"),
    ("problem=e1 init=uniform init.low=null", "init.low=None", "a finite number"),
    ("problem=e1 init=uniform init.high=[1,2]", "init.high=[1.0, 2.0]", "one number"),
    ("problem=e1 init=normal init.std=0", "init.std=0.0", "a number > 0 (init=zeros for 0)"),
    ("problem=e1 init=point init.value=[1,2]", "init.value=[1.0, 2.0]", "a list of 1, one for each coordinate of e1"),
    ("problem=e3 init=point init.value=[1,2,3]", "init.value=[1.0, 2.0, 3.0]", "a list of 2, one for each"),
    ("problem=e1 epochs=3", "epochs=3.0", "null for closed forms"),
    ("problem=e1 loss=foo", "loss=foo", "one of auto, cross_entropy, squared"),
    ("problem=e1 sampling=foo", "sampling=foo", "one of cyclic, iid, reshuffle"),
    ("problem=e1 sampling=reshuffle", "sampling=reshuffle", "iid: problem=e1 has no finite set of samples here"),
    ("problem=e2 problem.noise=foo", "problem.noise=foo", "one of none, uniform"),
    ("problem=e3 problem.b=abc", "problem.b=abc", "a finite number"),
    ("problem=e6 problem.data=foo", "problem.data=foo", "one of diabetes, pair"),
    ("suite=default optimizer=sgd", "optimizer=sgd", "not set together with suite=default"),
    ("suite=default optimizer.lr=1", "optimizer.lr=1", "not set together with suite=default"),
    ("suite=default seeds=3", "seeds=3", "not set together with suite=default"),
    ("suite=default -m", "suite=default", "not together with -m"),
    ("suite=smoke threads=0", "threads=0", "a whole number >= 1"),
    ("suite=smoke steps=0", "steps=0", "a whole number >= 1"),
    ("suite=smoke foo=1", "foo=1", "one of batch_size"),
    ("-m seeds=1,0", "seeds=0", "a whole number >= 1"),
    ("-m optimizer=sgd,shbb", "optimizer=shbb", "(did you mean shb?)"),
    ("-m hydra/launcher=foo", "hydra/launcher=foo", "basic"),
    ("--dry-run seeds=1", "option=--dry-run", "-m (--multirun)"),
]


@pytest.fixture
def rejected(tmp_path, capsys, contents):
    """Runs a command that must be refused before any compute; returns its line."""
    folder = tmp_path / "results"
    Store(folder).write([{"member_id": "a", "status": "done"}], [{"member_id": "a", "step": 0}])

    def run(arguments, results_dir=folder):
        before = contents(tmp_path)
        code = run_command(main, [*arguments, f"results_dir={results_dir}"])
        out, err = capsys.readouterr()
        assert code == 2
        assert err.count("\n") == 1 and err.endswith("\n") and err.startswith("error: ")
        assert "members to compute" not in out
        assert contents(tmp_path) == before
        return err

    return run


@pytest.mark.parametrize(("override", "nearest"), UNKNOWN_OPTION)
def test_unknown_option(rejected, override, nearest):
    line = rejected(override.split())
    assert f"{override.split()[-1]}: allowed is one of " in line and f"(did you mean {nearest}?)" in line


@pytest.mark.parametrize(("arguments", "given", "allowed"), WRONG_VALUE)
def test_wrong_value(rejected, arguments, given, allowed):
    line = rejected(arguments.split())
    assert line.startswith(f"error: {given}: allowed is ")
    assert allowed in line.partition("allowed is ")[2]


def test_absent_store_stays_absent(tmp_path, capsys):
    assert run_command(main, ["seeds=0", f"results_dir={tmp_path / 'new'}"]) == 2
    assert not (tmp_path / "new").exists()


def test_missing_data_file(rejected, tmp_path):
    empty = tmp_path / "data"
    empty.mkdir()
    line = rejected(["dataset=mnist", f"data_root={empty}"])
    assert f"data_root={empty / 'MNIST' / 'raw' / 'train-images-idx3-ubyte'}: allowed is a readable file" in line
    assert "download=true" in line


def test_corrupt_data_file(rejected, tmp_path):
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{name}-ubyte").write_bytes(b"junk")
    line = rejected(["dataset=mnist", f"data_root={tmp_path / 'data'}"])
    assert f"data_root={raw / 'train-images-idx3-ubyte'}: allowed is a file with MD5 6bbc9ace898e44ae" in line


def test_results_below_a_file(rejected, tmp_path):
    (tmp_path / "file").write_text("")
    line = rejected(["seeds=1"], results_dir=tmp_path / "file" / "results")
    assert f"results_dir={tmp_path / 'file' / 'results'}: allowed is a writable folder" in line


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes everywhere")
def test_results_in_a_read_only_folder(rejected, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "a writable folder" in rejected(["seeds=1"], results_dir=tmp_path / "locked" / "results")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_absent_device(rejected):
    assert "device=cuda: allowed is auto or cpu" in rejected(["device=cuda"])


@pytest.mark.parametrize("arguments", [["seeds=1"], ["suite=smoke"], ["-m", "seeds=1,2"]])
def test_newer_schema(rejected, tmp_path, arguments):
    row = {"member_id": "b", "status": "done", "schema_version": SCHEMA_VERSION + 1}
    path = write_shard(tmp_path / "results" / "members", pl.DataFrame([row], schema=MEMBER_SCHEMA))
    line = rejected(arguments)
    assert f"results_dir={path}: allowed is schema_version <= {SCHEMA_VERSION} (this one has" in line


def test_the_command_itself(tmp_path):
    command = [sys.executable, "-m", "bench.run", "optimizer=shbb"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "optimizer=shbb: allowed is one of" in done.stderr
    assert not list(tmp_path.iterdir())
