"""What a machine has: memory that can be had and cores that may be used, within what control groups grant."""

import os
from pathlib import Path

import pytest

from llstore.runner.cgroup import free_memory, granted_cores
from llstore.runner.placement.machine import Gpu, Machine, host_memory, measured
from llstore.runner.threads import allowed_cores, usable_cores

MIB = 1 << 20


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_machine_without_control_groups_has_no_limits(tmp_path: Path) -> None:
    assert granted_cores(tmp_path) is None
    assert free_memory(tmp_path) is None
    assert host_memory(tmp_path) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_the_narrowest_group_above_a_process_limits_it(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/team/mine\n",
            "sys/fs/cgroup/team/mine/cpu.max": "max 100000\n",
            "sys/fs/cgroup/team/cpu.max": "250000 100000\n",
            "sys/fs/cgroup/team/mine/memory.max": f"{900 * MIB}\n",
            "sys/fs/cgroup/team/mine/memory.current": f"{500 * MIB}\n",
            "sys/fs/cgroup/team/mine/memory.stat": f"anon {300 * MIB}\ninactive_file {150 * MIB}\nactive_file {MIB}\n",
            "sys/fs/cgroup/team/memory.max": "max\n",
            "sys/fs/cgroup/team/memory.current": f"{500 * MIB}\n",
            "proc/meminfo": f"MemTotal: 9999999 kB\nMemAvailable: {800 * 1024} kB\n",
        },
    )
    assert granted_cores(root) == 2.5
    # Pages of files can be dropped: what they take is free.
    assert free_memory(root) == 551 * MIB
    assert host_memory(root) == 551 * MIB


def test_in_a_container_the_mount_is_the_own_group(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {"proc/self/cgroup": "0::/docker/abc\n", "sys/fs/cgroup/cpu.max": "50000 100000\n", "proc/meminfo": ""},
    )
    assert granted_cores(root) == 0.5


def test_groups_of_version_1_limit_too(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/a\n2:cpu,cpuacct:/a\n0::/\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/a/memory.limit_in_bytes": f"{700 * MIB}\n",
            "sys/fs/cgroup/memory/a/memory.usage_in_bytes": f"{100 * MIB}\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{100 * MIB}\n",
        },
    )
    assert free_memory(root) == 600 * MIB


@pytest.mark.parametrize("name", ["cpu", "cpu,cpuacct"])
def test_the_controllers_of_version_1_may_be_mounted_together(tmp_path: Path, name: str) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "2:cpu,cpuacct:/a\n",
            f"sys/fs/cgroup/{name}/a/cpu.cfs_quota_us": "300000\n",
            f"sys/fs/cgroup/{name}/a/cpu.cfs_period_us": "100000\n",
        },
    )
    assert granted_cores(root) == 3


def test_what_cannot_be_read_limits_nothing(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "nonsense\n0::/\n", "sys/fs/cgroup/cpu.max": "many\n", "proc/meminfo": "?\n"}
    assert granted_cores(write(tmp_path, files)) is None


def test_threads_are_never_more_than_the_cores_of_this_process() -> None:
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert 1 <= usable_cores() <= allowed_cores() <= here


def test_a_process_bound_to_one_core_uses_one_thread() -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("only Linux binds processes to cores")
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert (usable_cores(), allowed_cores()) == (1, 1)
    finally:
        os.sched_setaffinity(0, before)


def test_this_machine_is_measured() -> None:
    found = measured()
    assert found.free > 100 * MIB
    assert 1 <= found.cores <= found.most_threads
    assert all(0 <= gpu.free <= gpu.total for gpu in found.gpus)


def test_some_of_all_memory_is_left_alone() -> None:
    gpu = Gpu("GPU", 4096 * MIB, 4096 * MIB)
    assert gpu.room == (4096 - 256) * MIB
    assert Gpu("GPU", 80_000 * MIB, 80_000 * MIB).room == (80_000 - 1024) * MIB
    assert Gpu("GPU", 100 * MIB, 4096 * MIB).room == 0
    assert Machine(free=10, cores=1, most_threads=1).room == 0
