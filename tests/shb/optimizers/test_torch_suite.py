"""PyTorch's own optimizer suite (``TestOptimRenewed`` of test/test_optim.py) on SHB, driven by its ``OptimizerInfo``.

The tests are written anew, each under its name there; their settings, error inputs and flags come from
torch.testing._internal.common_optimizers. Schedulers: test_torch_schedulers.py. Drawn velocities, distributed and
compiled steps: test_torch_shb.py, test_torch_distributed.py.
"""

import copy
import inspect
import io

import pytest
import torch
from torch.nn import Parameter
from torch.optim import optimizer as torch_optimizer
from torch.optim.lr_scheduler import ConstantLR, ExponentialLR, LinearLR, PolynomialLR, ReduceLROnPlateau, StepLR

from shb.errors import ConfigurationError
from shb.optimizers import SHB

pytest.importorskip("expecttest", reason="torch's test helpers import it: pip install expecttest")
from torch.testing._internal.common_optimizers import (
    ErrorOptimizerInput,
    OptimizerInfo,
    OptimizerInput,
    _get_optim_inputs_including_global_cliquey_kwargs,
    get_error_inputs_for_all_optims,
)

NO_FUSED = "SHB has no fused kernel: foreach is three calls"
NO_SPARSE = "SHB refuses sparse gradients: its velocity is dense (test_torch_shb.py)"
NO_DIFFERENTIABLE = "SHB has no differentiable steps: the pure rule of shb.optimizers is differentiable as it is"
GPUS = "needs one or more GPUs"
# tests of torch's suite that are not here, and why
NOT_APPLICABLE = {
    "test_optim_infos_do_not_specify_global_cliquey_kwargs": "about torch's own list of optimizers",
    "test_forloop_goes_right_direction_multigpu": GPUS,
    "test_rosenbrock_sparse": NO_SPARSE,
    "test_mixed_device_dtype": GPUS + " (mixed dtypes on the CPU: test_torch_shb.py)",
    "test_foreach_large_tensor": GPUS + " and 72 GB",
    "test_peak_memory_foreach": GPUS,
    "test_fused_matches_forloop": NO_FUSED,
    "test_fused_error_on_params_on_meta": NO_FUSED,
    "test_fused_large_tensor": NO_FUSED,
    "test_fused_does_not_step_if_foundinf": NO_FUSED,
    "test_fused_cpu_matches_cuda": NO_FUSED,
    "test_cpu_load_state_dict": NO_FUSED + "; capturable is for counters of steps, of which SHB has none",
    "test_load_nontensor_step": "SHB counts no steps",
    "test_state_dict_with_cuda_params": GPUS,
    "test_defaults_changed_to_foreach": GPUS,
    "test_second_order_optims_return_consistent_types": "SHB is of first order",
    "TestDifferentiableOptimizer": NO_DIFFERENTIABLE,
    "maximize": "the heavy ball of the theory descends: maximize by a loss of the other sign",
}
ABSENT = ("fused", "maximize", "capturable", "differentiable")


def inputs(device, dtype=None):
    return [
        OptimizerInput(params=None, kwargs={"lr": 1e-3, "momentum": 0.0}, desc="no momentum"),
        OptimizerInput(params=None, kwargs={"lr": 1e-3}, desc="default momentum"),
        OptimizerInput(params=None, kwargs={"lr": 1e-3, "momentum": -0.5}, desc="negative momentum"),
        OptimizerInput(params=None, kwargs={"lr": torch.tensor(2e-3)}, desc="tensor lr"),
        OptimizerInput(params=None, kwargs={"lr": 1e-3, "weight_decay": 0.1}, desc="weight_decay"),
        OptimizerInput(
            params=None,
            kwargs={"lr": torch.tensor(2e-3), "momentum": torch.tensor(0.5), "weight_decay": torch.tensor(0.1)},
            desc="tensors",
        ),
        OptimizerInput(params=None, kwargs={"lr": 1e-3, "momentum": 1.0, "allow_unstable": True}, desc="unstable"),
    ]


def error_inputs(device, dtype):
    """Torch's for all optimizers, with an lr, and SHB's own."""
    errors = get_error_inputs_for_all_optims(device, dtype)
    for error in errors:
        error.optimizer_error_input.kwargs.setdefault("lr", 1e-3)
        if "Tensor lr" in error.error_regex:
            error.error_regex = "SHB.lr=tensor.*: allowed is a finite number > 0, or a tensor of one element"
    w = Parameter(torch.randn(1, 1, device=device, dtype=dtype))
    for kwargs, regex in (
        ({}, "SHB.lr=None"),
        ({"lr": 1e-3, "momentum": 1.0}, r"SHB.momentum=1.0: allowed is a number in \(-1, 1\)"),
        ({"lr": 1e-3, "weight_decay": -1}, "SHB.weight_decay=-1: allowed is a finite number >= 0"),
    ):
        given = OptimizerInput(params=[w], kwargs=kwargs, desc=regex)
        errors.append(ErrorOptimizerInput(given, error_type=ConfigurationError, error_regex=regex))
    return errors


INFO = OptimizerInfo(
    SHB,
    optim_inputs_func=inputs,
    optim_error_inputs_func=error_inputs,
    scheduler_inputs=(
        [lambda opt: StepLR(opt, gamma=0.9, step_size=10)],
        [lambda opt: LinearLR(opt, start_factor=0.4, end_factor=0.8, total_iters=4)],
        [
            lambda opt: StepLR(opt, gamma=0.99, step_size=10),
            lambda opt: ExponentialLR(opt, gamma=0.99),
            lambda opt: ReduceLROnPlateau(opt),
        ],
        [lambda opt: ConstantLR(opt, factor=0.4, total_iters=4)],
        [lambda opt: PolynomialLR(opt, power=0.9, total_iters=4)],
    ),
    supported_impls=("foreach",),
    not_og_supported_flags=("weight_decay", "velocity_std", "foreach", "allow_unstable"),
    supports_complex=True,
)


def settings():
    """Fresh, because schedulers write into tensors; with foreach also on the CPU, where torch leaves it out."""
    found = []
    for given in _get_optim_inputs_including_global_cliquey_kwargs("cpu", torch.float32, INFO):
        together = {**copy.deepcopy(given.kwargs), "foreach": True}
        found += [given, OptimizerInput(params=None, kwargs=together, desc=f"{given.desc} & foreach")]
    return found


each_setting = pytest.mark.parametrize("setting", range(len(settings())), ids=[s.desc for s in settings()])
each_input = pytest.mark.parametrize("setting", range(len(inputs("cpu"))), ids=[s.desc for s in inputs("cpu")])


def options(setting):
    return copy.deepcopy(settings()[setting].kwargs)


class Line:
    """|weight x + bias|^2 of random numbers, and what trains it."""

    def __init__(self, contiguous=True, dtype=torch.float32, seed=0):
        source = torch.Generator().manual_seed(seed)
        trail, pick = ((), ...) if contiguous else ((2,), (..., 0))
        self.weight = Parameter(torch.randn((10, 5, *trail), generator=source).to(dtype)[pick])
        self.bias = Parameter(torch.randn((10, *trail), generator=source).to(dtype)[pick])
        self.x = torch.randn(5, generator=source).to(dtype)
        self.params = [self.weight, self.bias]

    def loss(self):
        return (self.weight.mv(self.x) + self.bias).square().sum()

    def train(self, optimizer, steps, schedulers=()):
        for _ in range(steps):
            optimizer.zero_grad()
            loss = self.loss()
            loss.backward()
            optimizer.step()
            for scheduler in schedulers:
                scheduler.step(*([loss.detach()] if isinstance(scheduler, ReduceLROnPlateau) else []))

    def twin(self):
        other = copy.copy(self)
        other.weight, other.bias = (Parameter(w.detach().clone()) for w in self.params)
        other.params = [other.weight, other.bias]
        return other


def assert_equal(these, those, **tolerance):
    torch.testing.assert_close(these, those, **(tolerance or {"rtol": 0, "atol": 0}))


# construction and errors


def test_what_is_said_not_to_apply_does_not():
    assert not set(inspect.signature(SHB).parameters) & set(ABSENT)
    assert not set(INFO.supported_impls) & set(ABSENT)
    assert not set(NOT_APPLICABLE) & set(globals())


@pytest.mark.parametrize("which", range(9))
def test_errors(which):
    errors = error_inputs("cpu", torch.float32)
    assert len(errors) == 9
    error = errors[which]
    given = error.optimizer_error_input
    expected = pytest.warns if issubclass(error.error_type, Warning) else pytest.raises
    with expected(error.error_type, match=error.error_regex):
        SHB(given.params, **given.kwargs)


@each_setting
def test_optimizer_can_be_printed(setting):
    assert "momentum" in repr(SHB(Line().params, **options(setting)))


# the update


@each_input
@pytest.mark.parametrize("contiguous", [True, False])
def test_forloop_goes_right_direction(setting, contiguous):
    for schedulers in ((), *INFO.scheduler_inputs):
        line = Line(contiguous)
        optimizer = SHB(line.params, foreach=False, **inputs("cpu")[setting].kwargs)
        before = line.loss().item()
        line.train(optimizer, 20, [scheduler(optimizer) for scheduler in schedulers])
        assert line.loss().item() < before


@pytest.mark.parametrize("schedulers", INFO.scheduler_inputs)
def test_param_group_with_lrscheduler_goes_right_direction(schedulers):
    line = Line()
    optimizer = SHB([{"params": [line.weight]}, {"params": [line.bias], "lr": 0.01}], lr=1e-3)
    before = line.loss().item()
    line.train(optimizer, 20, [scheduler(optimizer) for scheduler in schedulers])
    assert line.loss().item() < before


@each_setting
@pytest.mark.parametrize("shape", [(), (1,)])
def test_tensor_lr(setting, shape):
    ends = []
    for lr in (1e-3, torch.full(shape, 1e-3)):
        line = Line()
        line.train(SHB(line.params, **{**options(setting), "lr": lr}), 5)
        ends.append(line.params)
    assert_equal(*ends)


@each_setting
def test_complex(setting):
    """Beside a real parameter; the bits of the pairs of real numbers."""
    mixed = [torch.randn(10, 5, dtype=torch.complex64), torch.randn(10, dtype=torch.complex64), torch.randn(10, 5)]
    pairs = [(torch.view_as_real(w) if w.is_complex() else w).clone().requires_grad_() for w in mixed]
    mixed = [w.requires_grad_() for w in mixed]
    optimizers = [SHB(mixed, **options(setting)), SHB(pairs, **options(setting))]
    for _ in range(3):
        for w, pair in zip(mixed, pairs):
            w.grad = torch.randn_like(w)
            pair.grad = torch.view_as_real(w.grad) if w.is_complex() else w.grad
        for optimizer in optimizers:
            optimizer.step()
    assert_equal([torch.view_as_real(w) if w.is_complex() else w for w in mixed], pairs)


def rosenbrock(w):
    return (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2


@each_setting
def test_complex_2d(setting):
    """Through autograd, against real and imaginary parts as parameters of their own."""
    w = torch.tensor([0.3 + 0.2j, -0.4 + 0.5j], dtype=torch.complex128, requires_grad=True)
    parts = [w.detach().real.clone().requires_grad_(), w.detach().imag.clone().requires_grad_()]
    given = {**options(setting), "lr": 1e-4}
    optimizers = [SHB([w], **given), SHB(parts, **given)]
    for _ in range(3):
        for optimizer, z in zip(optimizers, (w, torch.complex(*parts))):
            optimizer.zero_grad()
            rosenbrock(z).abs().backward()
            optimizer.step()
        assert_equal(torch.view_as_real(w.detach()), torch.stack(parts, dim=-1).detach(), rtol=1e-12, atol=1e-12)


@each_setting
def test_rosenbrock(setting):
    """Torch's valley with dense gradients: from (1.5, 1.5) nearer to (1, 1)."""
    w = torch.tensor([1.5, 1.5], dtype=torch.float64, requires_grad=True)
    given = options(setting)
    given["momentum"] = torch.tensor(0.5) if isinstance(given.get("momentum"), torch.Tensor) else 0.5
    optimizer = SHB([w], **{**given, "lr": 5e-5, "weight_decay": 0.0})
    for _ in range(100):
        optimizer.zero_grad()
        rosenbrock(w).backward()
        optimizer.step()
    assert (w.detach() - 1).norm() < (torch.tensor([1.5, 1.5]) - 1).norm() - 0.02


def assert_foreach_matches_forloop(given, dtype):
    """With a step without gradients, a layer that rests for two steps and a 0-d parameter."""
    models, optimizers, empties = [], [], []
    for foreach in (False, True):
        torch.manual_seed(1)
        model = torch.nn.Sequential(
            torch.nn.Linear(2, 3), torch.nn.Sigmoid(), torch.nn.Linear(3, 1), torch.nn.Sigmoid()
        )
        model.to(dtype)
        empty = torch.ones((), dtype=dtype, requires_grad=True)
        empty.grad = torch.full_like(empty, 0.3)
        optimizers.append(SHB([*model.parameters(), empty], foreach=foreach, **copy.deepcopy(given)))
        models.append(model)
        empties.append(empty)
    x = torch.arange(1, 7, dtype=dtype).reshape(3, 2) / 10
    for k in range(7):
        for model, optimizer in zip(models, optimizers):
            optimizer.zero_grad()
            model[2].requires_grad_(k not in (3, 4))
            if k != 2:
                model(x).sum().backward()
            optimizer.step()
        assert_equal(*([w.detach() for w in model.parameters()] for model in models))
        assert_equal(*(list(optimizer.state.values()) for optimizer in optimizers))
    assert_equal(*empties)


@each_input
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_foreach_matches_forloop(setting, dtype):
    assert_foreach_matches_forloop(inputs("cpu")[setting].kwargs, dtype)


@each_input
@pytest.mark.parametrize("default", [torch.float64, torch.float16])
def test_set_default_dtype_works_with_foreach(setting, default):
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(default)
        assert_foreach_matches_forloop(inputs("cpu")[setting].kwargs, torch.float64)
    finally:
        torch.set_default_dtype(before)


@each_setting
def test_param_groups_weight_decay(setting):
    line = Line()
    given = options(setting)
    optimizer = SHB([{"params": [line.weight], **given}, {"params": [line.bias], **given, "weight_decay": 0.0}])
    before = line.loss().item()
    line.train(optimizer, 20)
    assert line.loss().item() < before
    assert [float(group["weight_decay"]) for group in optimizer.param_groups] == [
        pytest.approx(float(given.get("weight_decay", 0.0))),
        0.0,
    ]


@each_setting
def test_param_groups_lr(setting):
    line = Line()
    still = Parameter(torch.randn(2))
    optimizer = SHB([{"params": line.params, **options(setting)}, {"params": [still]}], lr=1e-28)
    before, start = line.loss().item(), still.detach().clone()
    for _ in range(20):
        still.grad = torch.rand_like(still)
        line.train(optimizer, 1)
    assert line.loss().item() < before
    assert_equal(still.detach(), start)


@each_setting
def test_step_is_noop_when_params_have_no_grad(setting):
    params = [torch.randn(2, 3) for _ in range(2)]
    before = [w.clone() for w in params]
    optimizer = SHB(params, **options(setting))
    assert optimizer.step(lambda: torch.ones(1)).item() == 1
    assert_equal(params, before)


@each_setting
def test_step_is_noop_for_zero_grads(setting):
    """A weight decay moves even so."""
    w = torch.randn(5, 1, requires_grad=True)
    before = w.detach().clone()
    optimizer = SHB([w], **{**options(setting), "weight_decay": 0.0})
    for _ in range(2):
        w.grad = torch.zeros_like(w)
        optimizer.step()
    assert_equal(w.detach(), before)


@each_setting
def test_grads_are_never_inplaced_into(setting):
    line = Line()
    optimizer = SHB(line.params, **options(setting))
    line.train(optimizer, 1)
    grads = [w.grad for w in line.params]
    versions, values = [g._version for g in grads], [g.clone() for g in grads]
    optimizer.step()
    assert [g._version for g in grads] == versions
    assert_equal(grads, values)


@each_input
def test_non_empty_state(setting):
    line = Line()
    optimizer = SHB(line.params, **inputs("cpu")[setting].kwargs)
    line.train(optimizer, 1)
    assert [set(state) for state in optimizer.state.values()] == [{"velocity"}, {"velocity"}]


# state_dict


def named(params, with_names):
    return [(f"name{i}", w) for i, w in enumerate(params)] if with_names else params


def without_names(state_dict):
    groups = [{k: v for k, v in group.items() if k != "param_names"} for group in state_dict["param_groups"]]
    return {**state_dict, "param_groups": groups}


@each_setting
@pytest.mark.parametrize("from_named", [True, False])
@pytest.mark.parametrize("to_named", [True, False])
def test_state_dict_deterministic(setting, from_named, to_named):
    line = Line()
    optimizer = SHB(named(line.params, from_named), **options(setting))
    line.train(optimizer, 10)
    twin = line.twin()
    loaded = SHB(named(twin.params, to_named), **options(setting))
    stored = copy.deepcopy(optimizer.state_dict())
    loaded.load_state_dict(stored)
    for _ in range(5):
        line.train(optimizer, 1)
        twin.train(loaded, 1)
        assert_equal(line.params, twin.params)
    assert_equal(without_names(optimizer.state_dict()), without_names(loaded.state_dict()))
    # a repeated group is stored alike
    loaded.param_groups.extend(loaded.param_groups)
    assert_equal(
        without_names(optimizer.state_dict())["param_groups"][-1],
        without_names(loaded.state_dict())["param_groups"][-1],
    )


@each_setting
def test_can_load_older_state_dict(setting):
    line = Line()
    optimizer = SHB(line.params, **options(setting))
    line.train(optimizer, 3)
    stored = copy.deepcopy(optimizer.state_dict())
    for group in stored["param_groups"]:
        for flag in INFO.not_og_supported_flags:
            del group[flag]
    if settings()[setting].desc.startswith("unstable"):
        with pytest.raises(ConfigurationError, match=r"SHB\.momentum=1\.0"):
            optimizer.load_state_dict(stored)
        return
    optimizer.load_state_dict(stored)
    line.train(optimizer, 1)


@each_setting
@pytest.mark.parametrize("from_named", [True, False])
@pytest.mark.parametrize("to_named", [True, False])
def test_can_load_from_to_named_state_dict(setting, from_named, to_named):
    line = Line()
    optimizer = SHB(named(line.params, from_named), **options(setting))
    line.train(optimizer, 3)
    loaded = SHB(named(line.params, to_named), **options(setting))
    loaded.load_state_dict(optimizer.state_dict())
    line.train(loaded, 1)
    names = loaded.state_dict()["param_groups"][0].get("param_names")
    assert names == (["name0", "name1"] if from_named or to_named else None)


@each_setting
@pytest.mark.parametrize("with_names", [True, False])
def test_save_load_equality_with_weights_only(setting, with_names):
    line = Line()
    optimizer = SHB(named(line.params, with_names), **options(setting))
    line.train(optimizer, 3)
    for weights_only in (True, False):
        file = io.BytesIO()
        torch.save(optimizer.state_dict(), file)
        file.seek(0)
        loaded, stored = torch.load(file, weights_only=weights_only), optimizer.state_dict()
        assert_equal(without_names(loaded), without_names(stored))
        assert loaded["param_groups"][0].get("param_names") == stored["param_groups"][0].get("param_names")


@each_setting
def test_deepcopy_copies_all_public_attrs(setting):
    line = Line()
    optimizer = SHB(line.params, **options(setting))
    line.train(optimizer, 3)
    twin = copy.deepcopy(optimizer)
    assert {k for k in vars(optimizer) if k[0] != "_"} == {k for k in vars(twin) if k[0] != "_"}


# hooks


def mark(optimizer):
    optimizer.state["test"] = 1


def unmark(optimizer, state_dict):
    state_dict["marked"] = state_dict["state"].pop("test", None) == 1
    return state_dict


@each_setting
def test_state_dict_pre_hook(setting):
    optimizer = SHB(Line().params, **options(setting))
    optimizer.register_state_dict_pre_hook(mark)
    assert optimizer.state_dict()["state"]["test"] == 1


@each_setting
def test_state_dict_post_hook(setting):
    optimizer = SHB(Line().params, **options(setting))
    optimizer.register_state_dict_post_hook(unmark)
    assert optimizer.state_dict()["marked"] is False


@each_setting
def test_state_dict_pre_post_hook(setting):
    optimizer = SHB(Line().params, **options(setting))
    optimizer.register_state_dict_pre_hook(mark)
    optimizer.register_state_dict_post_hook(unmark)
    state_dict = optimizer.state_dict()
    assert state_dict["marked"] is True and "test" not in state_dict["state"]


def set_lr(lr):
    def hook(optimizer, state_dict):
        state_dict = copy.deepcopy(state_dict)
        state_dict["param_groups"][0]["lr"] = lr
        return state_dict

    return hook


def note_lr(optimizer):
    optimizer.state["lr"] = optimizer.param_groups[0]["lr"]


@each_setting
def test_load_state_dict_pre_hook_and_prepend(setting):
    optimizer = SHB(Line().params, **options(setting))
    optimizer.register_load_state_dict_pre_hook(set_lr(0.002))
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.param_groups[0]["lr"] == 0.002
    optimizer.register_load_state_dict_pre_hook(set_lr(0.003), prepend=True)
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.param_groups[0]["lr"] == 0.002  # what runs last


@each_setting
def test_load_state_dict_post_hook(setting):
    optimizer = SHB(Line().params, **options(setting))
    optimizer.register_load_state_dict_post_hook(note_lr)
    optimizer.load_state_dict(optimizer.state_dict())
    assert_equal(optimizer.state["lr"], options(setting)["lr"])


@each_setting
def test_load_state_dict_pre_post_hook(setting):
    optimizer = SHB(Line().params, **options(setting))
    optimizer.register_load_state_dict_pre_hook(set_lr(0.003))
    optimizer.register_load_state_dict_post_hook(note_lr)
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.state["lr"] == 0.003


def counting(calls, mark):
    def hook(optimizer, args, kwargs):
        calls.append(mark)

    return hook


@each_setting
@pytest.mark.parametrize("when", ["pre", "post"])
def test_step_pre_hook_and_step_post_hook(setting, when):
    optimizer = SHB(Line().params, **options(setting))
    calls = []
    handle = getattr(optimizer, f"register_step_{when}_hook")(counting(calls, when))
    optimizer.step()
    optimizer.step()
    handle.remove()
    optimizer.step()
    assert calls == [when] * 2


@each_setting
def test_step_all_hooks(setting):
    calls = []
    optimizer, other = SHB(Line().params, **options(setting)), torch.optim.SGD(Line().params)
    handles = [
        torch_optimizer.register_optimizer_step_pre_hook(counting(calls, "all before")),
        torch_optimizer.register_optimizer_step_post_hook(counting(calls, "all after")),
        *(o.register_step_pre_hook(counting(calls, "before")) for o in (optimizer, other)),
        *(o.register_step_post_hook(counting(calls, "after")) for o in (optimizer, other)),
    ]
    for o in (optimizer, other, optimizer):
        o.step()
    for handle in handles:
        handle.remove()
    optimizer.step()
    assert calls == ["all before", "before", "after", "all after"] * 3
