"""llama.cpp dies in a command: one line says how, at what, and what to try. Nothing else is printed, nothing is left.

The batches that kill it are of more than 64 tokens: shorter ones are tried before a model is used for the first time.
"""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dying_llama
import pytest
from waiting import until

from llstore.store import Digest

pytestmark = pytest.mark.skipif(bool(dying_llama.unavailable()), reason=dying_llama.unavailable() or "there is one")

Command = Callable[..., subprocess.CompletedProcess[str]]
LONG = "x" * 79  # with its first token, 80 tokens of the tiny model, each of which is a byte
RUN = ("run", "t/t", "--raw", "--max-tokens", "4", "--temperature", "0", "-p")
AT = "while it read a prompt of 80 tokens"
DOCTOR = "llstore doctor shows the build"
CRASHES = "the engine crashes again and again; the last time by SIGSEGV"
NO_REPACK = f"{DOCTOR}, --no-repack computes without its fastest kernels"


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("libraries")


@pytest.fixture
def dying(libraries: Path) -> dict[str, str]:
    """The environment of a process in which a batch of 65 tokens is the end."""
    return dying_llama.environment(libraries, tokens=65)


@pytest.fixture(autouse=True)
def model(put: Callable[..., str], tiny: Path) -> Digest:
    return Digest.parse(put(tiny, name="t/t"))


@pytest.mark.parametrize(
    ("how", "cause", "hint"),
    [
        (signal.SIGSEGV, "SIGSEGV", NO_REPACK),
        (signal.SIGILL, "SIGILL", NO_REPACK),
        (signal.SIGFPE, "SIGFPE", NO_REPACK),
        (dying_llama.GGML_ABORT, "SIGABRT: dying_llama.c:1: GGML_ASSERT(n_tokens < 65) failed", NO_REPACK),
        (signal.SIGBUS, "SIGBUS", f"llstore fsck checks the file, {DOCTOR}"),
        (signal.SIGKILL, "SIGKILL", "the system kills what takes too much memory: a smaller --ctx takes less"),
    ],
    ids=str,
)
def test_run_says_which_signal_at_what_and_what_to_try(
    llstore: Command, libraries: Path, how: signal.Signals | str, cause: str, hint: str
) -> None:
    ran = llstore(*RUN, LONG, **dying_llama.environment(libraries, tokens=65, how=how))
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", f"llstore: llama.cpp died ({cause}) {AT} ({hint})\n")


def test_what_does_not_kill_it_is_answered_as_ever(llstore: Command, dying: dict[str, str]) -> None:
    well, short = llstore(*RUN, "Name a town."), llstore(*RUN, "Name a town.", **dying)
    assert (short.returncode, short.stdout, short.stderr) == (0, well.stdout, "")


def test_a_flag_that_was_given_already_is_not_advised(llstore: Command, dying: dict[str, str]) -> None:
    assert llstore(*RUN, LONG, "--no-repack", **dying).stderr.endswith(f"({DOCTOR})\n")


def test_with_json_it_is_the_usual_document(llstore: Command, dying: dict[str, str]) -> None:
    ran = llstore(*RUN, LONG, "--json", **dying)
    error = {"code": 1, "kind": "process_died", "message": f"llama.cpp died (SIGSEGV) {AT}", "hint": NO_REPACK}
    assert (ran.returncode, json.loads(ran.stdout)) == (1, {"error": error})
    assert len(ran.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "doing"),
    [
        (
            ("bench", "t/t", "--pp", "100", "--npl", "0", "--concurrency", "0", "--rate", "0"),
            "read a prompt of 100 tokens",
        ),
        # However slow the machine is, it makes a step of all slots.
        (("tune", "t/t", "--seconds", "5", "--ctx", "128", "--parallel", "80"), "generated tokens"),
    ],
    ids=lambda value: value[0],
)
def test_what_measures_says_it_too(llstore: Command, dying: dict[str, str], words: tuple[str, ...], doing: str) -> None:
    ran = llstore(*words, "--quiet", **dying)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == f"llstore: llama.cpp died (SIGSEGV) while it {doing} ({NO_REPACK})\n"


def test_replay_says_it_too(llstore: Command, dying: dict[str, str], tmp_path: Path) -> None:
    llstore(*RUN, LONG, "--receipt", tmp_path / "receipt")
    ran = llstore("replay", tmp_path / "receipt", **dying)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == f"llstore: llama.cpp died (SIGSEGV) {AT} ({DOCTOR})\n"


def test_a_terminal_is_left_as_it_was_with_one_line(home: Path, dying: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    ran = subprocess.Popen(
        [sys.executable, "-m", "llstore.cli", *RUN, LONG],
        env={**os.environ, "LLSTORE_HOME": str(home), "TERM": "xterm", **dying},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    assert ran.wait(60) == 1
    assert termios.tcgetattr(theirs) == before
    shown = os.read(ours, 65536).decode()
    os.close(theirs)
    os.close(ours)
    # A bar may have been drawn before, and wiped away.
    assert shown.endswith(f"\x1b[?25h\r\x1b[Kllstore: llama.cpp died (SIGSEGV) {AT} ({NO_REPACK})\r\n")
    assert shown.count("llstore: ") == 1


@contextmanager
def generating(home: Path, put: Callable[..., str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A `run` that has begun its answer, and has a process group of its own."""
    import tiny as tiny_model

    put(tiny_model.write_tiny(folder / "wide.gguf", context=8192), name="t/wide")
    process = subprocess.Popen(
        [sys.executable, "-m", "llstore.cli", "run", "t/wide", "-p", "x", "--max-tokens", "8000"],
        env={**os.environ, "LLSTORE_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    # The first token comes of the prompt; what follows is generated.
    assert process.stdout.read(16)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_ends_it_once(
    home: Path, put: Callable[..., str], tmp_path: Path, word: signal.Signals
) -> None:
    with generating(home, put, tmp_path) as process:
        os.killpg(process.pid, word)
        _, stderr = process.communicate(timeout=60)
    ended = (process.returncode, stderr)
    assert ended == ((130, "llstore: interrupted\n") if word == signal.SIGINT else (143, ""))


def test_the_token_at_which_it_was_killed_is_named(home: Path, put: Callable[..., str], tmp_path: Path) -> None:
    with generating(home, put, tmp_path) as process:
        (child,) = alive(process.pid) - {process.pid}
        os.kill(child, signal.SIGSEGV)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.fullmatch(
        rf"llstore: llama\.cpp died \(SIGSEGV\) while it generated token \d+ \({re.escape(NO_REPACK)}\)\n", stderr
    )


def test_nothing_is_left_of_a_command_that_is_killed(home: Path, put: Callable[..., str], tmp_path: Path) -> None:
    with generating(home, put, tmp_path) as process:
        process.kill()
        until(lambda: not alive(process.pid))


def test_a_trial_of_kernels_ends_with_its_command(home: Path, libraries: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "llstore.cli", *RUN, "x"],
        env={**os.environ, "LLSTORE_HOME": str(home), **dying_llama.environment(libraries, load_seconds=600)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stderr
        assert process.stderr.readline() == "llstore: trying llama.cpp's kernels on this processor …\n"
        assert len(alive(process.pid)) == 3
        process.kill()
        until(lambda: not alive(process.pid))


def alive(group: int) -> set[int]:
    """The processes of a group that run."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.add(int(folder.name))
    return found


def test_a_load_that_takes_long_is_said(llstore: Command, libraries: Path, model: Digest) -> None:
    slow = dying_llama.environment(libraries, tokens=65, load_seconds=4)
    ran = llstore(*RUN, "x", **slow)
    said = ["trying llama.cpp's kernels on this processor", f"loading {model.short}"]
    assert (ran.returncode, ran.stderr) == (0, "".join(f"llstore: {line} …\n" for line in said))
    assert llstore(*RUN, "x", "--quiet", **slow).stderr == ""


def lines(path: Path, *prompts: str) -> Path:
    path.write_text("".join(json.dumps({"prompt": prompt, "max_tokens": 2}) + "\n" for prompt in prompts))
    return path


def engine_remark(line: str) -> bool:
    return line.startswith("llstore: the engine died (SIGSEGV) while it read ") and line.endswith("is started again")


@pytest.mark.parametrize("parallel", ["1", "4"])
def test_a_batch_of_lines_that_all_kill_it_stops_and_can_be_taken_up(
    llstore: Command, dying: dict[str, str], tmp_path: Path, parallel: str
) -> None:
    source = lines(tmp_path / "in.jsonl", *(f"{number} {LONG}" for number in range(20)))
    target = tmp_path / "out.jsonl"
    words = ("batch", "t/t", "-i", source, "-o", target, "--raw", "--ctx", "256", "--parallel", parallel)
    ran = llstore(*words, **dying)
    *remarks, last = ran.stderr.splitlines()
    assert (ran.returncode, all(map(engine_remark, remarks))) == (1, True)
    # Prompts that were read together are suspected together: then crashes count, not lines.
    said = "died on 3 requests and answered none between them" if parallel == "1" else ".*"
    assert re.match(f"llstore: the engine {said}; the last time by SIGSEGV while it read ", last)
    assert not target.read_bytes()  # that they are to blame is not known
    again = llstore(*words)
    assert (again.returncode, target.read_text().count('"text"')) == (0, 20)


def test_a_line_that_kills_it_twice_gets_an_error_line(llstore: Command, libraries: Path, tmp_path: Path) -> None:
    prompts = [f"{number} {LONG * 3}" if number == 7 else f"Say {number}." for number in range(20)]
    source, target = lines(tmp_path / "in.jsonl", *prompts), tmp_path / "out.jsonl"
    words = ("batch", "t/t", "-i", source, "-o", target, "--raw", "--ctx", "256", "--parallel", "4")
    ran = llstore(*words, **dying_llama.environment(libraries, tokens=200))
    found = [json.loads(line) for line in target.read_text().splitlines()]
    assert (ran.returncode, [line["id"] for line in found if "error" in line]) == (1, [7])
    assert "the request crashed the engine 2 times; the last time by SIGSEGV while it read" in found[7]["error"]
    *remarks, _, last = ran.stderr.splitlines()
    assert all(map(engine_remark, remarks))
    assert last == f"llstore: 1 of 20 lines have no answer: {target} says why"


def test_a_server_that_cannot_answer_is_never_ready_and_ends(home: Path, dying: dict[str, str]) -> None:
    import httpx

    process = subprocess.Popen(
        [sys.executable, "-m", "llstore.cli", "serve", "t/t", "--port", "0", "--ctx", "256", "--json"],
        env={**os.environ, "LLSTORE_HOME": str(home), **dying},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    url = json.loads(process.stdout.readline())["url"]
    states = set()
    while process.poll() is None:
        try:
            states.add(httpx.get(f"{url}/ready").status_code)
        except httpx.HTTPError:
            break
        time.sleep(0.05)
    stdout, stderr = process.communicate(timeout=60)
    (last,) = [line for line in stderr.splitlines() if not line.startswith("{")]  # beside the log
    assert (process.returncode, states <= {503}) == (1, True)
    assert last.startswith("llstore: t/t:latest cannot answer a first prompt: the request crashed the engine 2 times; ")
    assert last.endswith(f"the last time by SIGSEGV {AT} ({NO_REPACK})")
    assert json.loads(stdout)["error"]["kind"] == "engine_crashed"


@pytest.mark.parametrize("command", ["run", "batch", "serve"])
def test_a_load_that_kills_it_is_said(
    llstore: Command, libraries: Path, tmp_path: Path, model: Digest, command: str
) -> None:
    words = {
        "run": ("-p", "x"),
        "batch": ("-i", lines(tmp_path / "in.jsonl", "x"), "-o", tmp_path / "out.jsonl"),
        "serve": ("--port", "0", "--log-format", "json"),
    }
    # Then kernels are known, and what dies is no trial of them.
    assert llstore(*RUN, "x", **dying_llama.environment(libraries, tokens=65)).returncode == 0
    ran = llstore(command, "t/t", *words[command], **dying_llama.environment(libraries, tokens=0))
    who, what = ("llama.cpp died (SIGSEGV)", model.short) if command == "run" else (CRASHES, "the model")
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == f"llstore: {who} while it loaded {what} ({NO_REPACK})"
