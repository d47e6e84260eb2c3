"""The tools that people have talk to the server as they talk to others. Each runs in a process of its own, which can
reach nothing but this machine."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import no_network
import pytest
from serving import Server, llstore, serving

CLIENTS = Path(__file__).parents[2] / "fixtures" / "client_scripts"
PARIS = "The capital of France is Paris."
WEATHER = ["weather", {"city": "Paris"}]
LLM_MODEL = """
- model_id: served
  model_name: test/model
  api_base: {url}/v1
  supports_tools: true
  supports_schema: true
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs Python with these arguments."""

    def run(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        fence = no_network.environment(tmp_path / "fence", before=os.environ.get("PYTHONPATH", ""), loopback=True)
        # litellm's table of prices is fetched otherwise; LLM_USER_PATH is where llm keeps what it has.
        own = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LLM_USER_PATH": str(tmp_path / "llm")}
        ran = subprocess.run(
            [sys.executable, *map(str, arguments)],
            env={**os.environ, **fence, **own},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ran.returncode == 0 or not check, ran.stdout + ran.stderr
        return ran

    return run


def report(ran: subprocess.CompletedProcess[str]) -> Any:
    found: Any = json.loads(ran.stdout)
    return found


def test_the_client_of_openai(server: Server, run: Run) -> None:
    found = report(run(CLIENTS / "with_openai.py", server.url))
    chats, at_once = found["chats"], found["at_once"]
    assert chats["text"] == chats["streamed"] == chats["final"] == PARIS
    assert chats["usage"] == [33, 33]
    assert chats["request_id"].startswith("req-")
    assert chats["events"] == ["chunk", "content.delta", "content.done"]
    assert found["completions"]["text"] == found["completions"]["streamed"]
    assert found["completions"]["text"].startswith(" Paris")
    assert found["completions"]["logprobs"] == 4
    assert found["tools"] == {"call": WEATHER, "streamed": [*WEATHER, "tool_calls"], "answered": True}
    assert found["forms"]["parsed"]["name"] == found["forms"]["plain"]["city"] == "Paris"
    assert found["models"] == {"listed": ["test/model:latest"], "retrieved": "test/model:latest"}
    assert found["errors"] == [
        ["NotFoundError", 404, "model", "model_not_found", True],
        ["BadRequestError", 400, "temperature", "invalid_value", True],
        ["BadRequestError", 400, None, "context_length_exceeded", True],
    ]
    assert at_once["texts"] == [PARIS]
    assert at_once["continued"] == found["completions"]["text"]
    assert at_once["called"] == ["weather"]
    assert at_once["parsed"]
    assert at_once["models"] == found["models"]["listed"]


@pytest.fixture(scope="module")
def scarce(wide: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, str]]]:
    """A server of 64 places, and the keys of a tenant that may ask for one thing at a time and of one that may all."""
    home = tmp_path_factory.mktemp("scarce")
    limits = {"one": ("--concurrency", "1"), "all": ()}
    keys = {name: llstore(home, "key", "create", name, *more).stdout.strip() for name, more in limits.items()}
    flags = ("--parallel", "4", "--queue", "60", "--ctx", "8192", "--threads", "1")
    with serving(home, wide, *flags) as found:
        yield found, keys


def test_the_client_of_openai_comes_back_when_it_was_told_to(scarce: tuple[Server, dict[str, str]], run: Run) -> None:
    server, keys = scarce
    for key, held, raised in (
        ("all", 64, ["InternalServerError", 503, "overloaded", "1"]),
        ("one", 32, ["RateLimitError", 429, "rate_limit_exceeded", "1"]),
    ):
        found = report(run(CLIENTS / "with_openai_retries.py", server.url, keys[key], str(held)))
        assert found["raised"] == raised
        assert found["statuses"] == [raised[1], 200]
        assert found["answered"] == "length"


def test_litellm(server: Server, run: Run) -> None:
    found = report(run(CLIENTS / "with_litellm.py", server.url))
    assert found == {
        "text": PARIS,
        "usage": 33,
        "streamed": PARIS,
        "call": WEATHER,
        "streamed_call": WEATHER,
        "raised": "NotFoundError",
    }


def test_langchain(server: Server, run: Run) -> None:
    found = report(run(CLIENTS / "with_langchain.py", server.url))
    assert found["text"] == found["streamed"] == PARIS
    assert found["usage"] == 33
    assert found["call"] == WEATHER
    assert found["streamed_call"] == [WEATHER]
    assert found["answered"]
    assert found["form"]["name"] == "Paris"


def test_llm(server: Server, run: Run, tmp_path: Path) -> None:
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "extra-openai-models.yaml").write_text(LLM_MODEL.format(url=server.url))
    asked = ("prompt", "-m", "served", "Name the capital of France.", "-o", "temperature", "0")
    system = ("-s", "You are a helpful assistant.")
    schema = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
    commands = (
        (*asked, *system, "-u"),
        (*asked, *system, "-u", "--no-stream"),
        (*asked, "--schema", json.dumps(schema)),
        (*asked, *system, "-T", "llm_version", "--chain-limit", "3", "-o", "max_tokens", "40"),
    )
    *plain, formed, called = report(run(CLIENTS / "with_llm.py", *map(json.dumps, commands)))
    for code, out, err in plain:
        assert (code, out.strip()) == (0, PARIS)
        assert "26 input, 7 output" in err
    assert json.loads(formed[1]) == {"city": "Paris"}
    # A model so small may call a tool again and again: llm then gives up, and says so.
    code, out, err = called
    assert (code == 0 and out.strip()) or "Chain limit of 3 exceeded" in err, err
