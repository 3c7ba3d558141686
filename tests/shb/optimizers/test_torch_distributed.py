"""SHB under FSDP2 and torch.distributed.checkpoint, in two processes on the CPU: the bits of one process."""

import datetime

import pytest
import torch

from shb.optimizers import SHB

distributed = pytest.importorskip("torch.distributed")
if not (distributed.is_available() and distributed.is_gloo_available()):
    pytest.skip("torch was built without gloo", allow_module_level=True)

from torch.distributed.checkpoint.state_dict import (  # noqa: E402  (after the skip)
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

pytestmark = pytest.mark.slow

STEPS = 4


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3))


def optimizer_of(model, foreach, std=0.1):
    given = {"lr": 0.05, "weight_decay": 0.01, "velocity_std": std, "foreach": foreach}
    return SHB(model.parameters(), generator=torch.Generator().manual_seed(3), **given)


def train(model, optimizer, start=0, stop=STEPS):
    for k in range(start, stop):
        x = torch.randn(8, 5, generator=torch.Generator().manual_seed(k))
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
    return whole(model)


def whole(model):
    """Weights as plain tensors, gathered where they are sharded."""
    weights = {}
    for name, w in model.named_parameters():
        w = w.detach()
        weights[name] = (w.full_tensor() if hasattr(w, "full_tensor") else w).clone()
    return weights


def same(these, those):
    return these.keys() == those.keys() and all(torch.equal(these[name], those[name]) for name in these)


@pytest.mark.parametrize("foreach", [False, True])
def test_a_state_asked_for_before_the_first_step_changes_nothing(foreach):
    ends = []
    for asked in (False, True):
        model = network()
        optimizer = optimizer_of(model, foreach)
        if asked:
            before = whole(model)
            state = get_optimizer_state_dict(model, optimizer)["state"]
            assert same(before, whole(model))
            assert [set(entry) for entry in state.values()] == [{"velocity", "drawn"}] * 4
            assert not any(entry["drawn"] or entry["velocity"].any() for entry in state.values())
        ends.append(train(model, optimizer))
    assert same(*ends)


@pytest.mark.parametrize("moment", [0, 2])
def test_a_checkpoint_goes_on_with_the_same_bits(moment):
    model = network()
    optimizer = optimizer_of(model, None)
    train(model, optimizer, 0, moment)
    options = StateDictOptions(flatten_optimizer_state_dict=True)
    stored = get_optimizer_state_dict(model, optimizer, options=options)
    stored = {name: v.clone() if isinstance(v, torch.Tensor) else v for name, v in stored.items()}
    resumed = network()
    resumed.load_state_dict(model.state_dict())
    end = train(model, optimizer, moment)
    fresh = optimizer_of(resumed, None)
    set_optimizer_state_dict(resumed, fresh, stored, options=options)
    assert same(end, train(resumed, fresh, moment))


def sharded(rank, folder):
    """What one of two processes does; rank 0 stores what was found."""
    from torch.distributed.fsdp import fully_shard

    torch.set_num_threads(1)
    rendezvous = f"file://{folder}/rendezvous"
    patience = datetime.timedelta(seconds=60)
    distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2, timeout=patience)
    mesh = distributed.init_device_mesh("cpu", (2,))
    found = {}
    for foreach in (False, True):
        for case in ("plain", "asked", "mixed"):
            model = network()
            # left to itself in "mixed": a plain tensor beside sharded ones in one group
            ignored = {model[2].bias} if case == "mixed" else None
            fully_shard(model, mesh=mesh, ignored_params=ignored)
            optimizer = optimizer_of(model, foreach)
            if case == "asked":
                get_optimizer_state_dict(model, optimizer)
            kinds = {type(w).__name__ for w in optimizer.param_groups[0]["params"]}
            found[case, foreach] = (kinds, train(model, optimizer))
    if rank == 0:
        torch.save(found, f"{folder}/found.pt")
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    torch.multiprocessing.spawn(sharded, args=(str(folder),), nprocs=2)
    return torch.load(folder / "found.pt", weights_only=True)


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("case", ["plain", "asked", "mixed"])
def test_two_processes_end_with_the_bits_of_one(found, case, foreach):
    """fully_shard with equal batches, whose mean gradient is exact; the velocity is drawn for the whole tensor."""
    kinds, end = found[case, foreach]
    assert kinds == {"DTensor", "Parameter"} if case == "mixed" else kinds == {"DTensor"}
    model = network()
    assert same(end, train(model, optimizer_of(model, foreach)))
