import pytest
import torch

from shb.training import Checkpoint

STATE = {
    "k": torch.tensor(12),
    # another order than the alphabet's: programs take parameters by position
    "params": {"1.weight": torch.randn(3, 4), "0.bias": torch.randn(3), "b": torch.randn(3, 2).double()},
    "optimizer": {"velocity": {"z": torch.randn(2), "a": torch.randn(2).bfloat16()}, "product": torch.ones(3)},
    "alive": torch.tensor([True, False]),
    "curve": {"step": torch.tensor([0, 12]), "train_loss": torch.tensor([[1.0, float("nan")]]).T},
}


def assert_same(a, b):
    if isinstance(a, dict):
        assert list(a) == list(b)
        for name in a:
            assert_same(a[name], b[name])
    else:
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "stack.safetensors"


def test_a_state_comes_back_with_its_nesting_order_and_bits(path):
    Checkpoint(path, "a", interval=0).save_if_due(STATE)
    assert_same(Checkpoint(path, "a").load(), STATE)
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # no temporary file is left


def test_an_optimizer_without_state_comes_back(path):
    Checkpoint(path, "a", interval=0).save_if_due({**STATE, "optimizer": {}})
    assert Checkpoint(path, "a").load()["optimizer"] == {}


def test_a_missing_foreign_or_torn_file_is_ignored(path):
    assert Checkpoint(path, "a").load() is None
    Checkpoint(path, "a", interval=0).save_if_due(STATE)
    assert Checkpoint(path, "other members").load() is None
    whole = path.read_bytes()
    for torn in (b"", whole[:5], whole[:200], whole[:-1], b"\0" * 300):
        path.write_bytes(torn)
        assert Checkpoint(path, "a").load() is None
    path.write_bytes(whole)
    assert Checkpoint(path, "a").load() is not None


def test_writes_are_at_least_an_interval_apart(path, monkeypatch):
    now = 100.0
    monkeypatch.setattr("shb.training.checkpoint.time.monotonic", lambda: now)
    checkpoint = Checkpoint(path, "a", interval=60)
    checkpoint.save_if_due(STATE)
    now = 159.0
    checkpoint.save_if_due(STATE)
    assert not path.exists()
    now = 160.0
    checkpoint.save_if_due(STATE)
    now = 200.0
    checkpoint.save_if_due({**STATE, "k": torch.tensor(99)})
    assert Checkpoint(path, "a").load()["k"] == 12
    now = 220.0
    checkpoint.save_if_due({**STATE, "k": torch.tensor(99)})
    assert Checkpoint(path, "a").load()["k"] == 99


def test_removal(path):
    checkpoint = Checkpoint(path, "a", interval=0)
    checkpoint.remove()
    checkpoint.save_if_due(STATE)
    checkpoint.remove()
    assert not path.exists()
