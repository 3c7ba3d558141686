"""CL57: rounding, the law by hand, verdicts on made-up columns, a tiny run."""

import numpy as np
import pytest
import torch

from bench.claims.catalogue import CLAIMS
from bench.claims.claim import Protocol
from bench.claims.precision import summation
from bench.claims.precision.summation import last_summands, rounded, ulp
from tests.bench.claims.synthetic import run_tiny, verdicts_of

N = 2000
SIZES = {
    "images": 128,
    "width": 32,
    "bits": 12,
    "seeds": N,
    "first": N,
    "first_images": 512,
    "first_bits": 12,
    "controls": 200,
}
SIZES |= {"margin": 0.06, "chunk": 500, "seconds": 0.01, "networks": {"net": ["dataset=digits"]}}


@pytest.mark.parametrize(("bits", "dtype"), [(8, torch.bfloat16), (11, torch.float16), (24, torch.float32)])
def test_rounding_and_spacing_are_those_of_the_formats(bits, dtype):
    x = torch.from_numpy(np.random.default_rng(0).normal(size=10_000))
    assert torch.equal(rounded(x, bits), x.to(dtype).double())
    y = x[x.abs() > 2**-10].to(dtype)
    above = torch.nextafter(y.abs(), torch.full_like(y, torch.inf)).double() - y.abs().double()
    assert torch.equal(ulp(y.double(), bits), above)
    assert ulp(torch.tensor([1.0, 1.5, 0.75, 0.0], dtype=torch.float64), bits).tolist() == [
        2.0 ** (1 - bits), 2.0 ** (1 - bits), 2.0**-bits, 0.0,
    ]  # fmt: skip


def test_a_sum_is_zero_on_an_interval_of_one_ulp_around_minus_the_last_summand():
    """s uniform on a grid much finer than ulp(b): the share of zeros times the range is ulp(b), and 3/4 at 2^-3."""
    bits = 8
    s = torch.linspace(-0.2, 0.0, 2_000_001, dtype=torch.float64)
    none = torch.zeros_like(s)
    for b, share in ((0.11, 1.0), (0.0815, 1.0), (0.125, 0.75)):
        bias = rounded(torch.tensor(b, dtype=torch.float64), bits)
        u, v = last_summands([s, none, none, none], s, bias.expand_as(s), bits)["last"]
        assert float((u == -v).double().mean()) * 0.2 == pytest.approx(share * float(ulp(bias, bits)), rel=2e-3)


def test_the_kernels_end_with_the_summands_they_say():
    sums = [torch.tensor([x], dtype=torch.float64) for x in (1.0, 0.003, 0.25, -0.5)]
    bias = rounded(torch.tensor([0.003], dtype=torch.float64), 8)
    even = torch.tensor([0.753], dtype=torch.float64)
    ends = {name: (float(u), float(v)) for name, (u, v) in last_summands(sums, even, bias, 8).items()}
    assert ends["last"] == (0.75 + 2.0**-8, float(bias))
    assert ends["middle"] == (1.0 + 2.0**-7, -0.25)
    assert ends["split_2"] == ends["split_4"] == (0.75, float(bias))  # 0.003 was lost beside 1
    assert ends["permuted"] == (0.75 + 2.0**-8, float(bias))  # and is kept beside 0.75


def test_a_pass_counts_the_zeros_of_the_format():
    """bias last, sum in float64, one rounding to bfloat16: as torch does it in that format."""
    settings = {"dataset": "digits", "images": 200, "width": 16, "layers": 1, "bits": 8}
    found = summation.run(settings, np.arange(20))
    for seed, zeros in enumerate(found["zeros_last"][:, 0]):
        (weight,), (bias,) = summation._parameters(settings, np.array([seed]), 64)
        s = (summation.inputs(settings).bfloat16().double() @ weight[0].T).bfloat16()
        assert zeros == ((s + bias[0].bfloat16()) == 0).sum()
    assert found["zeros_last"].sum() > 5 > 2 >= found["zeros_exact"].sum()  # so few bits do coincide now and then


def columns(n=N, rate=0.17, **factors):
    """Poisson zeros of each kernel at `rate` per layer, times its factor."""
    rng = np.random.default_rng(0)
    usual = {"coarse": 1.5, "exact": 0.0, "middle": 4.0} | factors
    found = {f"zeros_{k}": rng.poisson(rate * usual.get(k, 1.0), (n, 6)).astype(float) for k in summation.KERNELS}
    return found | {"law_last": np.full((n, 6), rate), "law_middle": np.full((n, 6), 4 * rate)}


def verdicts(first=None, other=4.0, **factors):
    world = {"network": columns(**factors), "first": columns(**(first or {})), "format": columns(200, 0.17 * other)}
    found = verdicts_of("CL57", SIZES, {f"net {name}": one for name, one in world.items()})
    return {name.removeprefix("CL57"): verdict for name, (verdict, _) in found.items()}


RIGHT = dict.fromkeys("abcdf", "SUPPORTED") | {"e": "REFUTED"}


@pytest.mark.parametrize(
    ("changes", "others"),
    [
        ({}, {}),
        ({"last": 1.5}, {"a": "REFUTED", "f": "REFUTED"}),
        ({"split_4": 1.5}, {"d": "REFUTED", "e": "SUPPORTED"}),
        ({"permuted": 1.5}, {"d": "REFUTED"}),
        ({"coarse": 1.0}, {"a": "VOID", "d": "VOID", "f": "VOID"}),
        ({"exact": 1.0}, {"a": "VOID", "f": "VOID"}),
        ({"other": 1.0}, {"a": "VOID"}),
        ({"first": {"middle": 1.0}}, {"b": "REFUTED", "c": "REFUTED"}),
        ({"first": {"last": 4.0}}, {"b": "VOID", "c": "REFUTED"}),
        ({"first": {"split_2": 4.0}}, {"c": "VOID"}),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_another_world_has_another_verdict(changes, others):
    assert verdicts(**changes) == RIGHT | others


def test_without_its_data_the_claim_is_out_of_scope():
    (part,) = CLAIMS["CL57"].parts(Protocol("full", SIZES), {})
    assert part.id == "CL57" and part.out_of_scope == "data set absent, for net"


def test_a_tiny_run():
    small = {
        "seeds": 4,
        "first": 4,
        "controls": 4,
        "images": 60,
        "first_images": 60,
        "chunk": 2,
        "bits": 9,
        "first_bits": 9,
    }
    results, parts = run_tiny("CL57", SIZES | small)
    assert results["net network"]["zeros_last"].shape == (4, 6)
    assert [part.id[-1] for part in parts] == list("abcdef")
    assert 0.3 < parts[0].estimate.value < 3  # a few dozen zeros
