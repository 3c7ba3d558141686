"""The number of processors: affinity, and quotas of both versions of cgroups, of this group and of those above."""

import os

import pytest
import torch

from shb.cpus import usable_cpus
from shb.training import determinism, prepare_process

V1 = {"cpu.cfs_quota_us": "150000\n", "cpu.cfs_period_us": "100000\n"}


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs affinities")
@pytest.mark.parametrize(
    ("group", "files", "cpus"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),  # rounded up
        ("0::/\n", {"cpu.max": "1000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "6400000 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "what\n"}, 8),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
        ("0::/not/visible\n", {"cpu.max": "300000 100000\n"}, 3),  # as in a container
        ("0::/a\n", {"b/cpu.max": "100000 100000\n"}, 8),
        ("3:cpu,cpuacct:/\n", {f"cpu,cpuacct/{name}": text for name, text in V1.items()}, 2),
        ("3:cpu,cpuacct:/a\n", {f"cpu/a/{name}": text for name, text in V1.items()}, 2),
        ("4:memory:/\n", {f"memory/{name}": text for name, text in V1.items()}, 8),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ("", {"cpu.max": "100000 100000\n"}, 8),
    ],
)
def test_quotas(monkeypatch, tmp_path, group, files, cpus):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(group)
    for name, text in files.items():
        path = tmp_path / "sys" / "fs" / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert usable_cpus(tmp_path) == cpus
    assert usable_cpus(tmp_path / "nowhere") == 8


def test_torch_has_no_more_threads_than_that(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(determinism, "usable_cpus", lambda: 2)
    try:
        for given, kept in ((3, 2), (1, 1)):
            torch.set_num_threads(given)
            prepare_process()
            assert torch.get_num_threads() == kept
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        torch.set_num_threads(3)
        prepare_process()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
