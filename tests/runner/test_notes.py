"""What llama.cpp is at is known to another process, in words; so is what ggml says before it ends this one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llstore.runner import Generator, Sampling
from llstore.runner.engine.black_box import BlackBox
from llstore.runner.engine.crash_report import CrashReport
from llstore.runner.engine.remarks import LONG_SECONDS, Remarks
from llstore.runner.llama import LlamaModel
from llstore.runner.notes import notes


@pytest.fixture
def page() -> Iterator[BlackBox]:
    """Where notes go, as another process sees it."""
    with BlackBox() as ours, BlackBox(os.dup(ours.fd)) as theirs:
        notes.into(ours)
        yield theirs
        notes.into(None)


def test_each_token_is_noted_before_it_is_computed(page: BlackBox, tiny: Path) -> None:
    with LlamaModel(tiny) as model:
        assert page.doing == ""  # it is loaded
        answer = Generator(model, [1, 2, 3], Sampling(max_tokens=3, temperature=0.0, ignore_eos=True))
        seen = [page.doing for _ in answer]
    assert seen[0] == "read a prompt of 3 tokens"
    assert page.doing == "generated token 3"


def test_a_part_of_a_prompt_and_several_prompts_are_told_apart(page: BlackBox) -> None:
    notes.reading(512, whole=False)
    assert page.doing == "read 512 tokens of a prompt"
    notes.reading(90, prompts=3)
    assert page.doing == "read 90 tokens of 3 prompts"


def test_a_text_that_is_too_long_is_cut_where_it_ends(page: BlackBox) -> None:
    notes.begin("loaded " + "ä" * 400)
    assert page.doing.startswith("loaded äää")
    assert len(page.doing) < 200


def test_what_ggml_says_is_noted_without_the_folder_of_its_build(page: BlackBox) -> None:
    notes.aborted(b"/build/of/somebody/ggml.c:5: GGML_ASSERT(a / b) failed")
    assert page.message == "ggml.c:5: GGML_ASSERT(a / b) failed"
    report = CrashReport("SIGABRT", None, ("noise",), "loaded ab", page.message)
    assert report.summary == "SIGABRT: ggml.c:5: GGML_ASSERT(a / b) failed while it loaded ab"


def test_without_a_page_ggml_is_heard_as_ever() -> None:
    code = (
        "from llstore.runner.llama.library import ll; import resource; "
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); ll._lib.ggml_abort(b'a/ggml.c', 3, b'no more')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (-signal.SIGABRT, "a/ggml.c:3: no more\n")


def test_who_waits_for_long_is_told_why_once() -> None:
    said: list[str] = []
    remarks = Remarks(said.append)
    remarks.loading(10)
    for now in (10, 11, 10 + LONG_SECONDS, 20):
        remarks.look(now)
    assert said == ["loading the model …"]
    remarks.loaded()
    remarks.crashed(CrashReport("SIGSEGV", (1,), doing="read a prompt of 4 tokens"), 30)
    remarks.look(31)
    assert len(said) == 1
    # A second crash before there was a token is no new wait.
    remarks.crashed(CrashReport("SIGABRT", (1,), ("why",)), 31)
    remarks.look(30 + LONG_SECONDS)
    remarks.look(40)
    assert said[1:] == ["the engine died (SIGABRT: why), and is started again"]


def test_who_does_not_wait_for_long_is_told_nothing() -> None:
    said: list[str] = []
    remarks = Remarks(said.append)
    remarks.loading(0)
    remarks.loaded()
    remarks.crashed(CrashReport("SIGSEGV", ()), 10)
    remarks.progress()
    remarks.look(100)
    assert not said
