"""The SDK and a real server."""

import asyncio
from urllib.parse import urlsplit

import pytest
from serving import Server

from llstore.runner.client import AsyncInferenceClient, ClientOptions, InferenceClient
from llstore.runner.errors import NotServed, ServerRefused

PARIS = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Name the capital of France."},
]
ANSWER = "The capital of France is Paris."


@pytest.fixture
def address(server: Server) -> tuple[str, int]:
    parts = urlsplit(server.url)
    return parts.hostname or "", parts.port or 0


def test_a_prompt_is_answered_with_its_text_its_time_and_its_model(server: Server, address: tuple[str, int]) -> None:
    with InferenceClient(*address) as client:
        assert client.ready()
        found = client.infer("Once upon a time", max_tokens=8, temperature=0, receipt=True)
    assert (found.tokens, found.finish_reason, str(found.digest)) == (8, "length", server.digest)
    assert found.text
    assert found.latency_ms > 0
    assert found.receipt
    assert found.receipt["output"]["text"] == found.text


def test_a_conversation_is_answered_whole_and_in_pieces_alike(address: tuple[str, int]) -> None:
    with InferenceClient(*address) as client:
        whole = client.chat(PARIS, temperature=0)
        stream = client.stream(PARIS, temperature=0)
        pieces = list(stream)
    assert whole.text == "".join(pieces) == ANSWER
    assert len(pieces) > 3
    assert stream.result.tokens == whole.tokens == 7
    assert stream.result.first_token_ms
    assert stream.result.first_token_ms <= stream.result.latency_ms


def test_the_asynchronous_client_does_the_same(address: tuple[str, int]) -> None:
    async def ask() -> tuple[str, str]:
        async with AsyncInferenceClient(*address) as client:
            whole = await client.chat(PARIS, temperature=0)
            pieces = [piece async for piece in client.stream(PARIS, temperature=0)]
            return whole.text, "".join(pieces)

    assert asyncio.run(ask()) == (ANSWER, ANSWER)


def test_texts_become_tokens_and_texts_again(address: tuple[str, int]) -> None:
    with InferenceClient(*address) as client:
        tokens = client.tokenize("Paris is large.")
        assert client.detokenize(tokens) == "Paris is large."


def test_the_models_are_listed(server: Server, address: tuple[str, int]) -> None:
    with InferenceClient(*address) as client:
        assert [str(model.digest) for model in client.models()] == [server.digest]


def test_a_refusal_says_what_is_wrong(address: tuple[str, int]) -> None:
    other = ClientOptions(model="nobody/has-this")
    with InferenceClient(*address, options=other) as client, pytest.raises(NotServed, match="nobody/has-this"):
        client.infer("x", max_tokens=1)
    with InferenceClient(*address) as client, pytest.raises(ServerRefused, match="1024"):
        client.infer("word " * 2000, max_tokens=1)
