"""The engine with real models: many requests in one batch, and each answered as if it were alone."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from steps import calls

from llstore.runner import EngineSettings, PromptEmpty, PromptTooLong, QueueFull, RunnerError, Sampling
from llstore.runner.engine.company import Company
from llstore.runner.engine.engine import Engine
from llstore.runner.engine.limits import Limits
from llstore.runner.engine.request import End, Request, Update
from llstore.runner.llama import LlamaModel

PROMPTS = [
    "The capital of France is",
    "def fibonacci(n):\n    ",
    "Once upon a time, in a village by the sea,",
    "Q: What is 2+2?\nA:",
    "Les élèves 学校 🎓 say",
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, " * 4,
    "The quick brown fox jumps over the lazy dog. " * 12,
    "To be, or not to be",
]


USUAL = Limits()


@pytest.fixture(scope="module", params=["smollm2", "gemma"])
def model(request: pytest.FixtureRequest) -> Iterator[LlamaModel]:
    with LlamaModel(request.getfixturevalue(request.param)) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def small(smollm2: Path) -> Iterator[LlamaModel]:
    with LlamaModel(smollm2) as loaded:
        yield loaded


def settings(**changes: object) -> EngineSettings:
    usual = EngineSettings(512, parallel=4, batch_size=64, threads=1, flash_attention=True)
    return replace(usual, **changes)


@cache
def company(model: LlamaModel, wanted: EngineSettings) -> Company | None:
    """Who may share a batch. Each exact engine would try it for seconds, as the first one does here."""
    with Engine(model, wanted) as engine:
        return engine.company


def exact(model: LlamaModel, limits: Limits = USUAL, **changes: object) -> Engine:
    wanted = settings(exact=True, **changes)
    return Engine(model, wanted, replace(limits, company=company(model, wanted)))


def greedy(model: LlamaModel, text: str, *, tokens: int = 24, **changes: object) -> Request:
    prompt = tuple(model.tokenize(text, add_special=True, parse_special=False))
    sampling = Sampling(temperature=0, max_tokens=tokens)
    return Request(**{"prompt": prompt, "sampling": sampling, **changes})


class Answers:
    """What came of the requests of an engine, by id."""

    def __init__(self) -> None:
        self.text: dict[int, str] = {}
        self.tokens: dict[int, list[int]] = {}
        self.ends: dict[int, End] = {}

    def take(self, updates: list[Update]) -> None:
        for update in updates:
            assert update.request not in self.ends, "nothing follows the end"
            self.text[update.request] = self.text.get(update.request, "") + update.text
            self.tokens.setdefault(update.request, []).extend(update.tokens)
            if update.end:
                self.ends[update.request] = update.end


def run(
    engine: Engine, answers: Answers | None = None, *, before_step: Callable[[int], None] = lambda _: None
) -> Answers:
    answers = answers or Answers()
    for n in itertools.count():
        before_step(n)
        if engine.idle:
            return answers
        answers.take(engine.step())


def alone(model: LlamaModel, request: Request, **changes: object) -> tuple[str, list[int]]:
    with exact(model, **changes) as engine:
        engine.submit(0, request)
        answers = run(engine)
    return answers.text[0], answers.tokens[0]


def test_in_exact_mode_an_answer_is_the_same_whoever_shares_the_batch_and_whenever_they_come(model: LlamaModel) -> None:
    requests = [greedy(model, prompt, tokens=6) for prompt in PROMPTS[1::2]]
    wanted = [alone(model, request) for request in requests]
    with exact(model) as engine:

        def arrive(step: int) -> None:
            if step % 3 == 0 and step // 3 < len(requests):
                engine.submit(step // 3, requests[step // 3])

        engine.submit(99, greedy(model, "Company.", tokens=24))
        answers = run(engine, before_step=arrive)
    assert [(answers.text[n], answers.tokens[n]) for n in range(len(requests))] == wanted


def test_in_exact_mode_a_request_that_was_parked_says_the_same(small: LlamaModel) -> None:
    request = greedy(small, PROMPTS[2], tokens=20)
    wanted = alone(small, request, parallel=1)
    for limits in (Limits(), Limits(prefix_bytes=0)):  # its KV kept, or lost and read again
        with exact(small, limits, parallel=1) as engine:
            engine.submit(0, request)
            answers = Answers()
            for _ in range(10):
                answers.take(engine.step())
            engine.submit(1, greedy(small, PROMPTS[6], tokens=4, priority=1))
            run(engine, answers)
            assert engine.stats.parked == 1
        assert (answers.text[0], answers.tokens[0]) == wanted


def test_in_exact_mode_a_request_goes_on_after_a_crash_as_if_there_had_been_none(small: LlamaModel) -> None:
    request = greedy(small, PROMPTS[2], tokens=12)
    text, tokens = alone(small, request)
    for done in (1, 7, 11):
        again = replace(request, generated=tuple(tokens[:done]))
        with exact(small) as engine:
            engine.submit(3, again)
            answers = run(engine)
        assert answers.tokens[3] == tokens[done:]
        assert text.endswith(answers.text[3])
        assert answers.ends[3].completion_tokens == 12


def test_chance_goes_on_after_a_crash_where_it_was(small: LlamaModel) -> None:
    request = replace(greedy(small, PROMPTS[2]), sampling=Sampling(temperature=1.0, seed=7, max_tokens=16))
    text, tokens = alone(small, request)
    again = replace(request, generated=tuple(tokens[:11]))
    rest, later = alone(small, again)
    assert (rest, later) == (text[len(text) - len(rest) :], tokens[11:])


def test_a_prompt_seen_before_is_not_read_again_and_answered_the_same(model: LlamaModel) -> None:
    request = greedy(model, PROMPTS[6], tokens=6)
    with exact(model) as engine:
        engine.submit(0, request)
        answers = run(engine)
        engine.submit(1, request)
        run(engine, answers)
    assert answers.ends[0].reused_tokens == 0
    assert answers.ends[1].reused_tokens == (len(request.prompt) - 1) // 64 * 64 > 0
    assert answers.tokens[1] == answers.tokens[0]


def test_a_prompt_that_another_is_still_answering_is_not_read_again(small: LlamaModel) -> None:
    request = greedy(small, PROMPTS[6], tokens=60)
    with Engine(small, settings()) as engine:
        engine.submit(0, request)
        answers = Answers()
        for _ in range(10):
            answers.take(engine.step())
        engine.submit(1, request)
        run(engine, answers)
    assert answers.ends[1].reused_tokens == len(request.prompt) - 1
    assert answers.tokens[1] == answers.tokens[0]


def test_a_domain_learns_nothing_of_the_prompts_of_another(small: LlamaModel) -> None:
    secret = greedy(small, "The password of the vault is swordfish-7261, tell nobody. " * 6, domain="victim")
    with Engine(small, settings()) as engine:
        engine.submit(0, secret)
        answers = run(engine)
        for id, domain in ((1, "attacker"), (2, ""), (3, "victim")):
            engine.submit(id, replace(secret, domain=domain))
            run(engine, answers)
        # Also while the other one is being answered.
        engine.submit(4, replace(secret, prompt=(*secret.prompt, 5)))
        for _ in range(4):
            answers.take(engine.step())
        engine.submit(5, replace(secret, prompt=(*secret.prompt, 5), domain="late"))
        run(engine, answers)
    reused = {id: end.reused_tokens for id, end in answers.ends.items()}
    assert [reused[id] for id in (1, 2, 5)] == [0, 0, 0]
    assert reused[3] == len(secret.prompt) - 1


def test_what_is_not_kept_is_found_by_nobody(small: LlamaModel) -> None:
    request = greedy(small, "Once upon a time there was a lighthouse keeper. " * 4)
    with Engine(small, settings()) as engine:
        answers = Answers()
        for id, kept in ((0, False), (1, True), (2, True)):
            engine.submit(id, replace(request, kept=kept))
            run(engine, answers)
    assert [answers.ends[id].reused_tokens for id in (0, 1, 2)] == [0, 0, len(request.prompt) - 1]


def test_a_public_beginning_is_shared_and_no_more(small: LlamaModel) -> None:
    system = "You are a helpful assistant of the town library. Answer briefly and kindly. " * 4
    one = greedy(
        small,
        system + "My secret is 42.",
        domain="one",
        public=len(small.tokenize(system, add_special=True, parse_special=False)),
    )
    with Engine(small, settings()) as engine:
        engine.submit(0, one)
        answers = run(engine)
        engine.submit(1, replace(one, domain="two", public=0))
        run(engine, answers)
    assert answers.ends[1].reused_tokens == one.public


def test_a_sliding_window_reuses_only_what_it_still_sees(gemma: Path) -> None:
    with LlamaModel(gemma) as loaded:
        prompt = tuple(range(1000, 1000 + 620))  # longer than the window of 512
        request = Request(prompt, Sampling(temperature=0, max_tokens=6))
        short = replace(request, prompt=prompt[:580])
        for swa_full in (True, False):
            wanted = alone(loaded, short, swa_full=swa_full, context_size=1024)
            with exact(loaded, swa_full=swa_full, context_size=1024) as engine:
                engine.submit(0, request)
                run(engine)
                engine.submit(1, short)
                answers = run(engine)
            assert (answers.text[1], answers.tokens[1]) == wanted
            # What has slid out of the window is gone.
            assert answers.ends[1].reused_tokens == (576 if swa_full else 0)


def test_a_cancelled_request_ends_before_the_next_step(small: LlamaModel) -> None:
    with Engine(small, settings()) as engine:
        for id in range(6):  # two of them wait
            engine.submit(id, greedy(small, PROMPTS[id], tokens=30))
        answers = Answers()
        for _ in range(15):
            answers.take(engine.step())
        for id in (0, 5):
            engine.cancel(id)
        answers.take(engine.step())
        assert {id: end.reason for id, end in answers.ends.items()} == {0: "cancelled", 5: "cancelled"}
        run(engine, answers)
        assert len(answers.ends) == 6


def test_a_request_ends_when_its_time_is_up_wherever_it_is(small: LlamaModel) -> None:
    now = 0.0
    with Engine(small, settings(parallel=1), clock=lambda: now) as engine:
        engine.submit(0, greedy(small, PROMPTS[0], tokens=100, seconds=5.0))
        engine.submit(1, greedy(small, PROMPTS[1], tokens=100, seconds=5.0))
        answers = Answers()
        for _ in range(6):
            answers.take(engine.step())
        now = 6.0
        run(engine, answers)
    assert {end.reason for end in answers.ends.values()} == {"timeout"}
    assert answers.ends[0].completion_tokens == len(answers.tokens[0]) > 0


def test_an_answer_ends_where_its_slot_does(small: LlamaModel) -> None:
    with Engine(small, settings(context_size=256)) as engine:
        request = greedy(small, PROMPTS[0], tokens=10_000)
        sampling = replace(request.sampling, ignore_eos=True)
        engine.submit(0, replace(request, sampling=sampling))
        answers = run(engine)
    assert answers.ends[0].reason == "length"
    assert answers.ends[0].completion_tokens == 256 - len(request.prompt)


def test_what_cannot_be_run_is_refused_and_harms_nobody(small: LlamaModel) -> None:
    with Engine(small, settings(parallel=1), Limits(queue=1)) as engine:
        request = greedy(small, PROMPTS[0])
        with pytest.raises(PromptEmpty):
            engine.submit(1, replace(request, prompt=()))
        with pytest.raises(PromptTooLong, match=r"512 tokens.*512"):
            engine.submit(1, replace(request, prompt=(5,) * 512))
        with pytest.raises(RunnerError, match="49152"):
            engine.submit(1, replace(request, prompt=(5, 49152)))
        engine.submit(0, request)
        with pytest.raises(QueueFull):
            engine.submit(1, request)
        answers = run(engine)
        assert answers.ends[0].reason in ("length", "stop")
        assert engine.idle


def test_requests_of_every_kind_leave_nothing_behind(small: LlamaModel) -> None:
    with Engine(small, settings()) as engine:
        for id in range(30):
            engine.submit(
                id, greedy(small, PROMPTS[id % 5], tokens=1 + id % 7, share=str(id % 3), priority=id % 2, alone=id == 4)
            )

        def interfere(step: int) -> None:
            if step % 7 == 3:
                engine.cancel(step)

        answers = run(engine, before_step=interfere)
        assert len(answers.ends) == 30
        assert engine.idle
        assert (engine.stats.waiting, engine.stats.running) == (0, 0)
        assert not any(engine._context.lengths)


def test_a_step_of_sixteen_costs_less_than_200_calls_each(small: LlamaModel) -> None:
    with Engine(small, settings(parallel=16)) as engine:
        for id in range(16):
            engine.submit(id, greedy(small, PROMPTS[0], tokens=8))
        while engine.stats.running < 16 or engine.stats.decode_tokens < 16:
            engine.step()
        assert calls(engine.step) < 200 * 16


def test_an_end_says_how_long_each_stage_took_by_the_engine_s_clock(small: LlamaModel) -> None:
    now = 0.0
    with Engine(small, settings(parallel=1), clock=lambda: now) as engine:
        for id in range(3):
            engine.submit(id, greedy(small, PROMPTS[6], tokens=4))
        engine.cancel(2)
        answers = Answers()
        while not engine.idle:
            now += 1
            answers.take(engine.step())
    ends = [answers.ends[id] for id in range(3)]
    stages = [(end.queue_seconds, end.prefill_seconds, end.decode_seconds) for end in ends]
    chunks = -(-len(greedy(small, PROMPTS[6]).prompt) // 64)
    assert stages[0] == (1, chunks - 1, 3), (
        "seated in the first step, read in several, three more tokens after the first"
    )
    assert stages[1] == (chunks + 4, 0, 3), "seated once the other had ended; all of its prompt but a little was read"
    assert stages[2] == (0, 0, 0)


def test_a_stage_that_a_request_did_not_come_to_took_no_time(small: LlamaModel) -> None:
    now = 0.0
    with Engine(small, settings(parallel=1), clock=lambda: now) as engine:
        engine.submit(0, greedy(small, PROMPTS[6]))
        engine.submit(1, greedy(small, PROMPTS[0], seconds=5))
        engine.step()
        now = 7
        engine.cancel(0)
        answers = Answers()
        answers.take(engine.step())
    reading, waiting = answers.ends[0], answers.ends[1]
    assert (reading.queue_seconds, reading.prefill_seconds, reading.decode_seconds) == (0, 7, 0)
    assert (waiting.reason, waiting.queue_seconds, waiting.prefill_seconds) == ("timeout", 7, 0)


def test_its_numbers_say_how_much_of_the_kv_cache_is_in_use(small: LlamaModel) -> None:
    with Engine(small, settings()) as engine:
        assert (engine.stats.kv_tokens, engine.stats.kv_room) == (0, 4 * 512)
        requests = [greedy(small, PROMPTS[0], tokens=9), greedy(small, PROMPTS[7], tokens=9)]
        for id, request in enumerate(requests):
            engine.submit(id, request)
        assert (engine.stats.waiting, engine.stats.kv_tokens) == (2, 0)
        while engine.stats.decode_steps < 2:
            engine.step()
        assert engine.stats.kv_tokens == sum(len(request.prompt) + 2 for request in requests)
        run(engine)
        assert engine.stats.kv_tokens == 0
