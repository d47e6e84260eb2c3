"""The page's examples are run as they stand, but for the port."""

import re
import subprocess
import sys
from pathlib import Path

from scripted import DIGEST, DONE, Scripted, answer, chatted, completed, counted, delta, event, streamed

from llstore.runner import errors
from llstore.runner.client import AsyncInferenceClient, InferenceClient
from llstore.runner.client.asked import ChatSettings

PAGE = (Path(__file__).parents[3] / "docs" / "client.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def printed(example: str, server: Scripted) -> str:
    code = example.replace("8080", str(server.port))
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_first_example_prints_what_the_server_says(server: Scripted) -> None:
    server.says(
        answer(completed(" Paris.")),
        answer(chatted({"content": "Hello!"}, receipt={"model": DIGEST})),
        streamed(event(" there"), event(" was", reason="stop"), counted(), DONE),
    )
    assert printed(EXAMPLES[0], server) == f" Paris. 2 {DIGEST}\nHello! True\n there wasstop\n"
    assert server.asked[1].json["min_p"] == 0.1


def test_the_async_example_does_as_well(server: Scripted) -> None:
    server.says(
        *[answer(completed(" two"))] * 3,
        streamed(delta(content="Hi"), delta(content="!", reason="stop"), counted(), DONE),
    )
    assert printed(EXAMPLES[1], server) == "[' two', ' two', ' two']\nHi!"


def test_the_page_names_every_verb_setting_and_error() -> None:
    words = set(re.findall(r"\w+", PAGE))
    verbs = {name for name in vars(InferenceClient) if not name.startswith("_")} - {"close", "over"}
    below = [errors.InvalidCall, errors.ServerUnreachable, errors.AnswerBroken, errors.ServerRefused]
    kinds = {kind.__name__ for each in below for kind in (each, *each.__subclasses__())}
    assert verbs | set(ChatSettings.__annotations__) | kinds <= words


def test_both_clients_have_the_same_verbs() -> None:
    both = [
        {name for name in vars(kind) if not name.startswith("_")} for kind in (InferenceClient, AsyncInferenceClient)
    ]
    assert {*both[0], "aclose"} == {*both[1], "close"}
