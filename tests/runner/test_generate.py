"""Generating: the same text as llama-cpp-python, told truly, and nothing left behind."""

import gc
from collections.abc import Iterator
from pathlib import Path

import llama_cpp
import pytest

from llstore.runner import (
    Generation,
    Generator,
    Message,
    PromptEmpty,
    PromptTooLong,
    RunnerError,
    Sampling,
    chat_prompt,
    raw_prompt,
)
from llstore.runner.generate import context_size
from llstore.runner.llama import LlamaModel

MOST = 16  # tokens
PROMPTS = [
    "The capital of France is",
    "Write a short poem about the sea.",
    "def fib(n):",
    "Once upon a time",
    "Q: What is 2+2?\nA:",
    "Les élèves 学校 🎓 say",
]
CHATS = [
    [("system", "You are a helpful assistant."), ("user", "Name the capital of France.")],
    [("user", "Name the capital of France.")],
    [("user", "Name three colours.")],
    [("user", "Hi"), ("assistant", "Hello! How can I help?"), ("user", "Write a haiku.")],
    [("user", "  space around me  ")],
    [("system", "Answer in one word."), ("user", "Is water wet?")],
]


@pytest.fixture(scope="module")
def chat_model(smollm2: Path) -> Iterator[LlamaModel]:
    with LlamaModel(smollm2) as model:
        yield model


def reference(path: Path) -> llama_cpp.Llama:
    """llama-cpp-python's own class, as its users make it."""
    return llama_cpp.Llama(str(path), verbose=False, n_ctx=512)


def generate(model: LlamaModel, tokens: list[int], **settings: object) -> Generation:
    answer = Generator(model, tokens, Sampling(**{"temperature": 0, "max_tokens": MOST, **settings}))
    assert "".join(answer) == answer.result.text
    return answer.result


@pytest.mark.parametrize("name", ["smollm2", "gemma"])
def test_greedy_text_is_llama_cpp_pythons(name: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(name)
    llama = reference(path)
    with LlamaModel(path) as model:
        for prompt in PROMPTS:
            made = generate(model, raw_prompt(model, prompt))
            llama.reset()  # or it reuses the last prompt's KV, and a shorter prefill rounds differently
            wanted = llama.create_completion(prompt, max_tokens=MOST, temperature=0)
            assert made.text == wanted["choices"][0]["text"]
            assert made.finish_reason == wanted["choices"][0]["finish_reason"]
            assert made.prompt_tokens == wanted["usage"]["prompt_tokens"]
    llama.close()


def test_greedy_chat_text_is_llama_cpp_pythons(smollm2: Path, chat_model: LlamaModel) -> None:
    llama = reference(smollm2)
    for chat in CHATS:
        made = generate(chat_model, chat_prompt(chat_model, [Message(*turn) for turn in chat]))
        llama.reset()
        messages = [{"role": role, "content": content} for role, content in chat]
        wanted = llama.create_chat_completion(messages, max_tokens=MOST, temperature=0)
        assert made.text == wanted["choices"][0]["message"]["content"]
        assert made.prompt_tokens == wanted["usage"]["prompt_tokens"]
    llama.close()


def test_the_capital_of_france_is_paris(chat_model: LlamaModel) -> None:
    messages = [
        Message("system", "You are a helpful assistant."),
        Message("user", "Name the capital of France."),
    ]
    made = generate(chat_model, chat_prompt(chat_model, messages))
    assert made.text == "The capital of France is Paris."
    assert made.finish_reason == "stop"


def test_the_result_counts_what_was_made(chat_model: LlamaModel) -> None:
    prompt = raw_prompt(chat_model, "Once upon a time")
    made = generate(chat_model, prompt, max_tokens=5)
    assert (made.prompt_tokens, made.completion_tokens, made.finish_reason) == (len(prompt), 5, "length")
    assert made.load_seconds > 0
    assert made.first_token_seconds > 0
    assert made.tokens_per_second > 0


def test_a_prompt_longer_than_one_batch_is_read_whole(smollm2: Path, chat_model: LlamaModel) -> None:
    text = "The sea was calm. " * 110
    llama = llama_cpp.Llama(str(smollm2), verbose=False, n_ctx=1024)
    wanted = llama.create_completion(text, max_tokens=8, temperature=0)["choices"][0]["text"]
    llama.close()
    prompt = raw_prompt(chat_model, text)
    assert len(prompt) > 512
    assert generate(chat_model, prompt, max_tokens=8).text == wanted


def test_a_stop_string_ends_the_text_before_it(chat_model: LlamaModel) -> None:
    prompt = raw_prompt(chat_model, "The capital of France is")
    whole = generate(chat_model, prompt).text
    stop = whole[len(whole) // 2 :][:6]
    answer = Generator(chat_model, prompt, Sampling(temperature=0, max_tokens=MOST, stop=(stop,)))
    assert "".join(answer) == answer.result.text == whole[: whole.index(stop)]
    assert answer.result.finish_reason == "stop"


def test_the_same_seed_gives_the_same_text_and_another_seed_another(chat_model: LlamaModel) -> None:
    prompt = raw_prompt(chat_model, "Once upon a time")
    texts = [generate(chat_model, prompt, temperature=1.0, seed=seed, max_tokens=24).text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_the_seed_that_was_drawn_makes_the_text_again(chat_model: LlamaModel) -> None:
    prompt = raw_prompt(chat_model, "Once upon a time")
    drawn = generate(chat_model, prompt, temperature=1.0, max_tokens=16)
    again = generate(chat_model, prompt, temperature=1.0, max_tokens=16, seed=drawn.sampling.seed)
    assert again.text == drawn.text


def test_one_candidate_is_the_greedy_choice(chat_model: LlamaModel) -> None:
    prompt = raw_prompt(chat_model, "Once upon a time")
    only = generate(chat_model, prompt, temperature=1.0, top_k=1, max_tokens=16)
    assert only.text == generate(chat_model, prompt, max_tokens=16).text


def test_context_is_rounded_up_and_ends_where_the_models_does() -> None:
    assert context_size(10, 20, at_most=2048) == 256
    assert context_size(200, 57, at_most=2048) == 512
    assert context_size(2000, 500, at_most=2048) == 2048


def test_a_prompt_without_room_for_an_answer_is_too_long() -> None:
    assert context_size(2047, 500, at_most=2048) == 2048
    with pytest.raises(PromptTooLong, match=r"2048 tokens.* 2048"):
        context_size(2048, 500, at_most=2048)


def test_a_prompt_too_long_for_the_model_is_refused_before_it_runs(chat_model: LlamaModel) -> None:
    with pytest.raises(PromptTooLong):
        Generator(chat_model, [1] * chat_model.context_length, Sampling())


def test_an_empty_prompt_is_refused(chat_model: LlamaModel) -> None:
    with pytest.raises(PromptEmpty):
        Generator(chat_model, [], Sampling())


def test_there_is_no_result_before_the_end(chat_model: LlamaModel) -> None:
    answer = Generator(chat_model, raw_prompt(chat_model, "Once"), Sampling(max_tokens=4))
    with pytest.raises(RunnerError):
        _ = answer.result


def test_an_interrupt_goes_through_and_frees_the_context(smollm2: Path) -> None:
    with LlamaModel(smollm2) as model:
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012
            for _ in Generator(model, raw_prompt(model, "Once"), Sampling(max_tokens=8)):
                assert len(model.contexts) == 1
                raise KeyboardInterrupt
        gc.collect()
        assert not model.contexts


def test_closing_the_model_ends_a_generation_that_was_left(smollm2: Path) -> None:
    with LlamaModel(smollm2) as model:
        pieces = iter(Generator(model, raw_prompt(model, "Once"), Sampling(temperature=0, max_tokens=64)))
        next(pieces)
    with pytest.raises(RunnerError, match="closed"):
        list(pieces)
