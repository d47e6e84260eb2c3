"""Greedy text of 50 prompts beside llama-server's: one at a time, and in exact mode in mixed company.

Usage: python benchmarks/same_text.py [--model smollm2] [--peers DIR] [--tokens 64] [SECTION…]
Sections: alone (one request at a time, beside llama-server) and company (exact mode: all 50 at once with staggered
arrivals, beside one at a time, and beside llama-server). Both without any. DIR (or LLSTORE_PEERS) holds llama-server;
without it, only exact mode is looked at. Both sides are given the same tokens; whether llama-server makes the same
tokens of the same text is told too.
"""

import http.client
import itertools
import json
import os
import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "fixtures"))

import models
from measure import machine

from llstore.runner import Message, Sampling
from llstore.runner.bench.contestants import room
from llstore.runner.bench.llama_server import HOST, LlamaServer
from llstore.runner.bench.peers import Peers
from llstore.runner.chat.ask import Chat, Raw
from llstore.runner.engine.request import Request
from llstore.runner.engine.supervisor import EngineProcess
from llstore.runner.engine_settings import EngineSettings
from llstore.runner.llama.model import LlamaModel, Loading

TEXTS = Path(__file__).parent.parent / "fixtures/texts.json"  # passages in several languages and notations
PROMPTS, LONGEST, SLOTS = 50, 1000, 16
LENGTHS = (5, 12, 30, 60, 100, 170, 256, 400, 512, 700)  # tokens of raw prompts, about
STAGGER = 0.15  # seconds between two arrivals: prompts are read while others generate
SYSTEM = "You are a helpful assistant."


@dataclass(frozen=True)
class Case:
    """A prompt: its tokens, and what llama-server is to make the same of."""

    name: str
    tokens: tuple[int, ...]
    text: str
    messages: tuple[dict[str, str], ...] = ()


def cases(model: LlamaModel) -> list[Case]:
    """Half of them chats, half raw, of all passages in turn."""
    texts: dict[str, str] = json.loads(TEXTS.read_text())
    passages = itertools.islice(itertools.cycle(texts.items()), PROMPTS)
    return [(raw, chat)[number % 2](model, name, text, number) for number, (name, text) in enumerate(passages)]


def raw(model: LlamaModel, name: str, passage: str, number: int) -> Case:
    """A passage, again and again, cut to a number of tokens."""
    wanted = LENGTHS[number // 2 % len(LENGTHS)]
    letters = 1 + wanted * len(passage) // len(Raw(passage).tokens(model))
    text = " ".join([passage] * (1 + letters // len(passage)))[:letters]
    return Case(f"{name}, raw", tuple(Raw(text).tokens(model)), text)


def chat(model: LlamaModel, name: str, passage: str, number: int) -> Case:
    """More or less of a passage, and a question about it; a model without a template is asked as it is."""
    question = f"{passage[: 20 + number * len(passage) // PROMPTS]}\n\nSay what this is about."
    if model.chat_template is None:
        return Case(f"{name}, question", tuple(Raw(question).tokens(model)), question)
    turns = (Message("system", SYSTEM), Message("user", question))
    messages = tuple({"role": turn.role, "content": turn.content} for turn in turns)
    return Case(f"{name}, chat", tuple(Chat(turns).tokens(model)), question, messages)


def ours(
    file: Path, found: Sequence[Case], settings: EngineSettings, *, tokens: int, stagger: float | None
) -> list[str]:
    """Our texts: one request after another, or with `stagger` seconds between arrivals."""
    texts = [""] * len(found)
    with EngineProcess([file], settings) as engine:
        engine.wait_ready()
        streams = []
        for number, case in enumerate(found):
            # Domains of their own: a prefix read before, in other chunks, may round differently. llama-server is asked
            # to reuse nothing either.
            sampling = Sampling(temperature=0.0, max_tokens=tokens)
            stream = engine.stream(Request(case.tokens, sampling, domain=str(number)))
            if stagger is None:
                texts[number] = "".join(update.text for update in stream)
            else:
                streams.append(stream)
                time.sleep(stagger)
        for number, stream in enumerate(streams):
            texts[number] = "".join(update.text for update in stream)
    return texts


def theirs(server: LlamaServer, found: Sequence[Case], *, tokens: int) -> list[str]:
    """llama-server's, one at a time."""
    target = server.target()
    return [str(target.complete(case.tokens, max_tokens=tokens)["content"]) for case in found]


def tokenized(server: LlamaServer, case: Case) -> tuple[int, ...]:
    """What llama-server makes of the text or the conversation."""
    if not case.messages:
        return tuple(post(server, "/tokenize", {"content": case.text, "add_special": True})["tokens"])
    prompt = post(server, "/apply-template", {"messages": case.messages})["prompt"]
    return tuple(post(server, "/tokenize", {"content": prompt, "add_special": True})["tokens"])


def post(server: LlamaServer, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """One answer of its HTTP API."""
    with closing(http.client.HTTPConnection(HOST, server.port, timeout=60)) as connection:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    return answer


def compare(what: str, found: Sequence[Case], pairs: Sequence[tuple[str, str]]) -> None:
    """How many texts are equal, and where the others part."""
    parted = [(case, one, other) for case, (one, other) in zip(found, pairs, strict=True) if one != other]
    print(f"{what}: {len(pairs) - len(parted)} of {len(pairs)} texts are equal")
    for case, one, other in parted:
        same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
        at = sum(1 for _ in same)
        where = f"{case.name}, {len(case.tokens)} tokens, part after {at} characters"
        print(f"  {where}: {one[at : at + 30]!r} and {other[at : at + 30]!r}")


def server_texts(peers: Peers, found: Sequence[Case], settings: EngineSettings, *, tokens: int) -> list[str]:
    """llama-server's texts; tells how its tokens compare."""
    with LlamaServer(peers, settings) as server:
        same = sum(tokenized(server, case) == case.tokens for case in found)
        print(f"tokens of the prompts: {same} of {len(found)} as llama-server makes them")
        return theirs(server, found, tokens=tokens)


@dataclass(frozen=True)
class Trial:
    """All prompts, and how they are run."""

    file: Path
    found: Sequence[Case]
    settings: EngineSettings
    tokens: int

    def run(self, *, exact: bool, stagger: float | None = None) -> list[str]:
        """Our texts."""
        settings = replace(self.settings, exact=exact)
        return ours(self.file, self.found, settings, tokens=self.tokens, stagger=stagger)

    def compare(self, what: str, one: list[str], other: list[str]) -> None:
        """Tell how many are equal."""
        compare(what, self.found, list(zip(one, other, strict=True)))


def main() -> None:
    parser = ArgumentParser(description="Greedy text beside llama-server's.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="alone company")
    parser.add_argument("--model", default="smollm2", choices=models.MODELS)
    parser.add_argument("--peers", type=Path, default=os.environ.get("LLSTORE_PEERS"), metavar="DIR")
    parser.add_argument("--tokens", type=int, default=64)
    given = parser.parse_args()
    if "alone" in given.sections and not given.peers:
        parser.error("alone compares with llama-server: --peers DIR")
    file = models.fetch(given.model)
    with LlamaModel(file, Loading(vocabulary_only=True)) as model:
        found = cases(model)
    lengths = [len(case.tokens) for case in found]
    print(f"{file.name}, {len(found)} prompts of {min(lengths)} to {max(lengths)} tokens, {machine()}")
    settings = EngineSettings(context_size=room(LONGEST), parallel=SLOTS, flash_attention=True)
    trial = Trial(file, found, settings, given.tokens)
    peers = Peers(Path(given.peers), file) if given.peers else None
    reference = server_texts(peers, found, settings, tokens=given.tokens) if peers else None
    sections = given.sections or ["alone", "company"]
    if "alone" in sections and reference:
        trial.compare("one at a time, llstore and llama-server", trial.run(exact=False), reference)
    if "company" in sections:
        mixed = trial.run(exact=True, stagger=STAGGER)
        trial.compare("exact mode, alone and in company", trial.run(exact=True), mixed)
        if reference:
            trial.compare("exact mode in company and llama-server", mixed, reference)


if __name__ == "__main__":
    main()
