"""Clipping against torch.nn.utils, per member, and what a rule gets of it."""

import pytest
import torch

from shb.errors import ConfigurationError
from shb.optimizers import OPTIMIZERS, get_optimizer, with_clipping, with_weight_decay
from shb.optimizers.clipping import CLIPS, clip_by_norm, clip_by_value

SHAPES = ((7, 3), (3,), ())
AT = 1.5


def gradients(members, dtype=torch.float64, seed=0):
    """name -> [members, ...], members of very different sizes, with zeros of both signs."""
    source = torch.Generator().manual_seed(seed)
    sizes = 10.0 ** torch.linspace(-3, 3, members, dtype=torch.float64)
    made = {}
    for i, shape in enumerate(SHAPES):
        g = torch.randn((members, *shape), generator=source, dtype=torch.float64)
        made[str(i)] = (g * sizes.reshape(-1, *(1,) * len(shape))).to(dtype)
    made["0"][:, 0, 0], made["0"][:, 0, 1] = 0.0, -0.0
    return made


def torchs(grads, row, by, at):
    leaves = [torch.zeros_like(g[row], requires_grad=True) for g in grads.values()]
    for leaf, g in zip(leaves, grads.values()):
        leaf.grad = g[row].clone()
    if by == "norm":
        torch.nn.utils.clip_grad_norm_(leaves, at)
    else:
        torch.nn.utils.clip_grad_value_(leaves, at)
    return [leaf.grad for leaf in leaves]


@pytest.mark.parametrize("by", CLIPS)
def test_each_member_is_clipped_as_torch_clips_it(by):
    grads = gradients(9)
    at = torch.linspace(0.5, 4, 9, dtype=torch.float64)
    clipped, changed = CLIPS[by](grads, at), 0
    for row in range(9):
        for mine, theirs, g in zip(clipped.values(), torchs(grads, row, by, at[row].item()), grads.values()):
            torch.testing.assert_close(mine[row], theirs, rtol=1e-12, atol=0)
            changed += not torch.equal(mine[row], g[row])
    assert 9 < changed < 27  # some are clipped and some are not


@pytest.mark.parametrize("by", CLIPS)
def test_what_is_not_clipped_keeps_its_bits(by):
    grads = gradients(4, torch.float32)
    for name, g in CLIPS[by](grads, torch.full((4,), 1e9, dtype=torch.float64)).items():
        assert torch.equal(g.view(torch.int32), grads[name].view(torch.int32))


@pytest.mark.parametrize("by", CLIPS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_member_is_clipped_alone_as_in_a_stack(by, dtype):
    grads = gradients(9, dtype)
    grads = {name: g.clamp(-1e4, 1e4) for name, g in grads.items()}  # float16 ends at 65,504
    at = torch.full((9,), AT, dtype=torch.float64)
    whole = CLIPS[by](grads, at)
    for row in (0, 4, 8):
        alone = CLIPS[by]({name: g[row] for name, g in grads.items()}, at[row])
        for name, g in alone.items():
            assert g.dtype == dtype and torch.equal(g, whole[name][row])


def test_the_norm_is_that_of_all_parameters_and_has_torchs_offset():
    grads = {"a": torch.tensor([[3.0]], dtype=torch.float64), "b": torch.tensor([[4.0]], dtype=torch.float64)}
    clipped = clip_by_norm(grads, torch.ones(1, dtype=torch.float64))
    norm = torch.sqrt(clipped["a"] ** 2 + clipped["b"] ** 2).item()
    assert norm == pytest.approx(5 / (5 + 1e-6), rel=1e-15) and norm < 1
    assert clipped["b"].item() / clipped["a"].item() == pytest.approx(4 / 3)


def test_squares_that_float32_cannot_hold_are_no_infinite_norm():
    grads = {"w": torch.tensor([[3e30, 4e30]])}
    clipped = clip_by_norm(grads, torch.ones(1, dtype=torch.float64))["w"]
    torch.testing.assert_close(clipped, torch.tensor([[0.6, 0.8]]))


def test_what_is_not_finite_stays_so():
    grads = {"w": torch.tensor([[float("nan"), 1.0], [float("inf"), 1.0]])}
    at = torch.ones(2, dtype=torch.float64)
    assert clip_by_norm(grads, at)["w"][:, 0].isnan().all()
    assert clip_by_value(grads, at)["w"][0, 0].isnan() and clip_by_value(grads, at)["w"][1, 0] == 1


@pytest.mark.parametrize("by", CLIPS)
@pytest.mark.parametrize("name", ["sgd", "shb", "nesterov", "adam"])
def test_a_rule_gets_the_clipped_gradient_before_weight_decay(name, by):
    rule = with_clipping(with_weight_decay(get_optimizer(name)), by)
    plain = with_weight_decay(get_optimizer(name))
    params = {n: g * 0 + 1 for n, g in gradients(3).items()}
    numbers = {n: torch.full((3,), 0.25, dtype=torch.float64) for n in plain.hyperparameters}
    at = {"clip.at": torch.full((3,), AT, dtype=torch.float64)}
    ends, states = [params, params], [r.init(params, numbers) for r in (rule, plain)]
    for k in range(4):
        grads = gradients(3, seed=k)
        ends[0], states[0] = rule.update(ends[0], grads, states[0], numbers | at, k)
        clipped = CLIPS[by](grads, at["clip.at"])
        ends[1], states[1] = plain.update(ends[1], clipped, states[1], numbers, k)
    assert all(torch.equal(ends[0][n], ends[1][n]) for n in params)


def test_an_extended_rule_is_one_object():
    rule = OPTIMIZERS["shb"]
    assert with_clipping(rule, "norm") is with_clipping(rule, "norm") is not with_clipping(rule, "value")
    assert with_clipping(rule, "norm").clip == "norm" and with_clipping(rule, "norm").takes_velocity


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: with_clipping(OPTIMIZERS["sgd"], "nrom"), "did you mean norm?"),
        (lambda: with_clipping(with_clipping(OPTIMIZERS["sgd"], "norm"), "value"), "it is clipped by norm"),
        (lambda: with_clipping(OPTIMIZERS["sgd"], "norm").complete({"lr": 0.1}), "clip.at"),
    ],
)
def test_wrong_input_is_refused(make, words):
    with pytest.raises(ConfigurationError, match=words):
        make()
