"""What may still be taken: the machine, memory limits of both versions of cgroups, of this group and of those above."""

import resource

import pytest

from shb.memory import usable_memory

GIB = 2**30


def v2(limit, used=GIB, cache=0):
    return {
        "memory.max": f"{limit}\n",
        "memory.current": f"{used}\n",
        "memory.stat": f"file 1\ninactive_file {cache}\n",
    }


def v1(limit, used=GIB, cache=0):
    stat = f"inactive_file 7\ntotal_inactive_file {cache}\n"
    return {"memory.limit_in_bytes": f"{limit}\n", "memory.usage_in_bytes": f"{used}\n", "memory.stat": stat}


def below(folder, files):
    return {f"{folder}/{name}": text for name, text in files.items()}


@pytest.fixture
def machine(tmp_path):
    """A file system of a machine with 8 GiB to have, whose cgroup files are given."""

    def make(group, files):
        (tmp_path / "proc" / "self").mkdir(parents=True)
        (tmp_path / "proc" / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:  {8 * 2**20} kB\n")
        (tmp_path / "proc" / "self" / "cgroup").write_text(group)
        for name, text in files.items():
            path = tmp_path / "sys" / "fs" / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("group", "files", "gibibytes"),
    [
        ("0::/\n", {}, 8),
        ("0::/\n", v2("max"), 8),
        ("0::/\n", v2(4 * GIB), 3),
        ("0::/\n", v2(4 * GIB, cache=GIB // 2), 3.5),
        ("0::/\n", v2(GIB, used=2 * GIB), 0),
        ("0::/\n", {"memory.max": "what\n"}, 8),
        ("0::/\n", v2(64 * GIB), 8),
        ("0::/a/b\n", below("a/b", v2("max")) | below("a", v2(6 * GIB)), 5),
        ("0::/not/visible\n", v2(4 * GIB), 3),  # as in a container
        ("0::/a\n", below("b", v2(4 * GIB)), 8),
        ("4:memory:/\n", below("memory", v1(4 * GIB)), 3),
        ("4:memory:/a\n", below("memory/a", v1(4 * GIB, cache=GIB)), 4),
        ("4:memory:/\n", below("memory", v1(9223372036854771712)), 8),  # no limit
        ("3:cpu:/\n", below("memory", v1(4 * GIB)), 8),
        ("", v2(4 * GIB), 8),
    ],
)
def test_limits(machine, group, files, gibibytes):
    assert usable_memory(machine(group, files)) == gibibytes * GIB


def test_a_machine_without_these_files_says_its_whole_memory(tmp_path):
    assert usable_memory(tmp_path) > GIB // 4


def test_the_limit_of_the_address_space(machine, monkeypatch):
    root = machine("", {})
    (root / "proc" / "self" / "statm").write_text(f"{GIB // resource.getpagesize()} 1 1\n")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (3 * GIB, resource.RLIM_INFINITY))
    assert usable_memory(root) == 2 * GIB
