"""Engines share the machine's cores: never more threads than cores, and everybody gets a turn."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steps import calls
from waiting import until

from llstore.runner.core_board import CoreBoard
from llstore.runner.core_shares import Claim, allowed, next_in_line
from llstore.runner.cores import AllCores, Cores

SOON = 10.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cores"


def granted(cores: Cores, wanted: int) -> int:
    with cores.taken(wanted) as threads:
        return threads


wants = st.lists(st.integers(1, 12), min_size=1, max_size=9)
needs = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=9)


@given(needs, st.integers(1, 8), st.lists(st.integers(0, 8), min_size=1, max_size=60))
def test_whoever_moves_when_no_core_is_held_twice_and_nobody_is_forgotten(
    wanted: list[tuple[int, int]], cores: int, moves: list[int]
) -> None:
    """Engines begin and end steps in any order; then each in turn, until all have had one."""
    claims = {
        seat: Claim(want, 0, False, 0, least=min(least, want, cores)) for seat, (want, least) in enumerate(wanted)
    }
    for move in moves:
        step(claims, move % len(claims), cores)
        assert sum(claim.holds for claim in claims.values()) <= cores
    used = {seat: claim.used for seat, claim in claims.items()}
    for _ in range(2 * len(claims) * max(2, sum(used.values()))):
        for seat in claims:
            step(claims, seat, cores)
    assert all(claims[seat].used > used[seat] for seat in claims)


def step(claims: dict[int, Claim], seat: int, cores: int) -> None:
    """Ends the step that this one is in, giving way if somebody waits; or begins one, if it may."""
    claim = claims[seat]
    if claim.holds:
        claims[seat] = replace(claim, holds=0, waits=False, used=claim.used + claim.holds)
        return
    holds = allowed(claims, seat, cores)
    assert holds == 0 or claim.least <= holds <= claim.wants
    claims[seat] = replace(claim, holds=holds, waits=not holds)


@given(st.lists(st.integers(1, 20), min_size=2, max_size=9), st.integers(1, 4))
def test_taking_turns_all_use_as_much_whatever_their_steps_last(lengths: list[int], cores: int) -> None:
    """Each asks again as soon as its step is over; so nobody is ahead of anybody by more than the longest steps."""
    cores = min(cores, len(lengths) - 1)
    claims = {seat: Claim(1, 0, True, 0) for seat in range(len(lengths))}
    ends: dict[int, int] = {}
    now = 0
    for _ in range(40 * len(lengths)):
        for seat in next_in_line(claims, cores):
            claims[seat] = replace(claims[seat], holds=allowed(claims, seat, cores), waits=False)
            assert claims[seat].holds == 1
            ends[seat] = now + lengths[seat]
        assert len(ends) == cores
        ended = min(ends, key=lambda seat: ends[seat])
        now = ends.pop(ended)
        claims[ended] = replace(claims[ended], holds=0, waits=True, used=claims[ended].used + lengths[ended])
        used = [claim.used for claim in claims.values()]
        assert max(used) - min(used) <= 2 * max(lengths)


@given(wants, st.integers(1, 16))
def test_the_parts_are_as_equal_as_can_be_and_leave_no_core_that_is_wanted(wanted: list[int], cores: int) -> None:
    claims = {seat: Claim(want, 0, False, 0) for seat, want in enumerate(wanted)}
    if len(claims) > cores:
        return
    parts = [allowed(claims, seat, cores) for seat in claims]
    assert sum(parts) == min(cores, sum(wanted))
    for part, want in zip(parts, wanted, strict=True):
        assert 1 <= part <= want
        assert part == want or part >= max(parts) - 1


def test_the_core_that_is_left_over_goes_to_who_used_least() -> None:
    claims = {0: Claim(3, 0, False, 10**9), 1: Claim(3, 0, False, 0)}
    assert [allowed(claims, seat, 3) for seat in claims] == [1, 2]


def test_next_in_line_is_who_used_least_as_far_as_there_is_room() -> None:
    claims = {0: Claim(1, 1, False, 0), 1: Claim(1, 0, True, 9), 2: Claim(1, 0, True, 5), 3: Claim(1, 0, True, 7)}
    assert next_in_line(claims, 3) == [2, 3]
    assert next_in_line(claims, 1) == []


def test_alone_one_gets_what_it_wants_and_the_machine_has(folder: Path) -> None:
    with Cores(folder, cores=4) as only:
        assert [granted(only, wanted) for wanted in (1, 3, 4, 99)] == [1, 3, 4, 4]


def test_who_shares_with_nobody_asks_nobody() -> None:
    with AllCores() as cores:
        assert granted(cores, 99) == 99
        cores.rest()


def test_a_newcomer_gets_its_part_after_one_step_and_leaves_it_again(folder: Path) -> None:
    with Cores(folder, cores=4) as old, Cores(folder, cores=4) as new:
        assert granted(old, 4) == 4
        with in_thread(lambda: granted(new, 4)) as got:
            until_somebody(folder, lambda claim: claim.waits)
            assert granted(old, 4) == 2
        assert got == [2]
        assert granted(old, 4) == 2
        new.rest()
        assert granted(old, 4) == 4


def test_between_two_steps_whoever_waits_has_the_core(folder: Path) -> None:
    with Cores(folder, cores=1) as slow, Cores(folder, cores=1) as other:
        with slow.taken(1):
            beside = in_thread(lambda: granted(other, 1))
            got = beside.__enter__()
            until_somebody(folder, lambda claim: claim.waits)
            assert got == []
        beside.__exit__()
        assert got == [1]


def until_somebody(folder: Path, claims: Callable[[Claim], object]) -> None:
    """Waits until somebody's claim is such."""
    with CoreBoard(folder) as board:
        until(lambda: any(map(claims, board.busy().values())), pause=0.001)


class in_thread:
    """Runs something beside the body; what it returned, afterwards."""

    def __init__(self, function: object) -> None:
        self._got: list[object] = []
        self._thread = threading.Thread(target=lambda: self._got.append(function()))

    def __enter__(self) -> list[object]:
        self._thread.start()
        return self._got

    def __exit__(self, *_: object) -> None:
        self._thread.join(SOON)


def test_many_engines_in_one_process_never_run_more_threads_than_cores(folder: Path) -> None:
    """Five engines want all of two cores, until each has had its turns; none would ever end if one were forgotten."""
    running, most, turns, lock = 0, 0, [0] * 5, threading.Lock()

    def engine(number: int) -> None:
        nonlocal running, most
        with Cores(folder, cores=2) as cores:
            while min(turns) < 50:
                with cores.taken(2) as threads:
                    with lock:
                        running += threads
                        most = max(most, running)
                    time.sleep(0.001)
                    with lock:
                        running -= threads
                turns[number] += 1
                if turns[number] % 10 == 0:
                    cores.rest()

    threads = [threading.Thread(target=engine, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2
    assert min(turns) >= 50


# Computes in steps, says so of each, and fails if it is not alone where there is one core.
BUSY = """
import sys, time
from pathlib import Path
from llstore.runner.cores import Cores
folder, count = Path(sys.argv[1]), int(sys.argv[2])
with Cores(folder, cores=count) as cores:
    print("ready", flush=True)
    sys.stdin.readline()
    while True:
        with cores.taken(2):
            if count == 1:
                (folder / "alone").touch(exist_ok=False)
            time.sleep(float(sys.argv[3]))
            if count == 1:
                (folder / "alone").unlink()
        print("turn", flush=True)
"""


@pytest.fixture
def busy(folder: Path) -> Iterator[object]:
    """Starts a process that, told to, computes in steps of some seconds, until it is killed."""
    processes: list[subprocess.Popen[str]] = []

    def started(cores: int, *, step: float = 0.005) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", BUSY, str(folder), str(cores), str(step)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield started
    for process in processes:
        process.kill()
        process.communicate()


def go(*processes: subprocess.Popen[str]) -> None:
    """Lets them begin together, as soon as all are there."""
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()


def test_processes_whose_steps_differ_all_get_turns_one_at_a_time(busy: object) -> None:
    processes = [busy(1, step=step) for step in (0.002, 0.002, 0.02)]
    go(*processes)
    # None has ended meanwhile: whoever is read last had to get its turns beside the others.
    for process in processes:
        assert [process.stdout.readline() for _ in range(20)] == ["turn\n"] * 20
    assert [process.poll() for process in processes] == [None] * 3


def test_what_a_dead_process_held_is_free(folder: Path, busy: object) -> None:
    process = busy(2)
    go(process)
    until_somebody(folder, lambda claim: claim.holds)
    process.kill()
    process.wait()
    with Cores(folder, cores=2) as cores:
        assert granted(cores, 2) >= 1
        while granted(cores, 2) < 2:
            time.sleep(0.01)


def test_a_turn_beside_another_costs_less_than_100_calls(folder: Path) -> None:
    with Cores(folder, cores=2) as one, Cores(folder, cores=2) as other, other.taken(1):
        granted(one, 1)
        assert calls(lambda: granted(one, 1)) < 100


def test_seats_are_used_again_and_nothing_stays_open(folder: Path) -> None:
    fds = Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")
    with Cores(folder):
        before = len(list(fds.iterdir()))
        for _ in range(5):
            with Cores(folder) as cores:
                granted(cores, 1)
        assert len(list(fds.iterdir())) == before
    assert sorted(path.name for path in folder.glob("seat-*")) == ["seat-0", "seat-1"]


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=os.strerror(20)):
        Cores(tmp_path / "file" / "cores")
