"""Run receipts: what is written is read back, and nothing else is read."""

import hashlib
import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llstore.runner import EngineSettings, InvalidEngine, InvalidReceipt, Message, Sampling
from llstore.runner.chat.ask import Chat, Raw
from llstore.runner.chat.template import Template
from llstore.runner.receipts.build_facts import BuildFacts, changes
from llstore.runner.receipts.file import MAX_BYTES, read, writable, write
from llstore.runner.receipts.reading import decode
from llstore.runner.receipts.receipt import Output, Reading, Receipt, UsedFile, UsedModel, tokens_digest
from llstore.runner.receipts.replay import first_difference
from llstore.runner.tools.tool import Tool, ToolCall
from llstore.store import Digest, Role
from llstore.store.errors import DiskError, FileNotThere, FormatTooNew, NoSpace
from llstore.store.manifest import canonical

WEIGHTS = Digest.of(b"weights")
BUILD = BuildFacts("0.1.0", "0.3.36", "CPU : AVX2 = 1", ("AVX2",), ("CUDA0: a card",), "x86_64")
CHAT = Chat((Message("system", "Be brief."), Message("user", "Grüße\n学校")), datetime(2026, 1, 2, 3, 4, 5, 6))
RECEIPT = Receipt(
    model=UsedModel(WEIGHTS, Digest.of(b"manifest"), (UsedFile(Role.WEIGHTS, WEIGHTS),)),
    ask=CHAT,
    reading=Reading(Digest.of(b"template"), 3, tokens_digest([7, 8, 9])),
    sampling=Sampling(seed=42, stop=("\n", "END")),
    engine=EngineSettings(256, threads=2),
    build=BUILD,
    output=Output((1, 2, 258), "abc", "length"),
    created=1_760_000_000,
)


def edited(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The receipt after a change to its document."""
    document = json.loads(RECEIPT.encode())
    change(document)
    return json.dumps(document).encode()


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_any_seed_that_a_run_may_draw_is_read_back() -> None:
    receipt = replace(RECEIPT, sampling=Sampling(seed=2**32 - 2))
    assert decode(receipt.encode()) == receipt


TOOLS = (
    Tool("weather", "Grüße", {"type": "object", "properties": {"z": {"minimum": 0.5}, "a": {}}}),
    Tool("time"),
)
CALLING = Chat(
    (
        Message("user", "How is it?"),
        Message(
            "assistant", "", (ToolCall("call_1", "weather", '{"z": 1, "a": "é"}'), ToolCall("call_2", "time", "{}"))
        ),
        Message("tool", "fine", tool_call_id="call_1"),
        Message("tool", "noon", tool_call_id="call_2", name="time"),
    ),
    datetime(2026, 1, 2),
    TOOLS,
)


def test_the_order_of_a_tools_parameters_is_kept_because_models_are_shown_it() -> None:
    again = decode(replace(RECEIPT, ask=CALLING).encode()).ask
    assert isinstance(again, Chat)
    assert [tool.schema for tool in again.tools] == [tool.schema for tool in TOOLS]
    assert list(again.tools[0].parameters["properties"]) == ["z", "a"]


def test_tools_and_calls_are_part_of_what_was_asked() -> None:
    digests = {
        chat.digest
        for chat in (
            CALLING,
            replace(CALLING, tools=TOOLS[:1]),
            replace(CALLING, tools=()),
            replace(CALLING, messages=CALLING.messages[:1]),
        )
    }
    assert len(digests) == 4


def test_a_plain_conversation_is_written_as_it_was_before_there_were_tools() -> None:
    document = json.loads(RECEIPT.encode())
    assert set(document["prompt"]) == {"messages", "raw", "clock"}
    assert all(set(message) == {"role", "content"} for message in document["prompt"]["messages"])
    assert "shown_tokens" not in document["sampling"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p.update(tools={}), "prompt.tools is not a list"),
        (lambda p: p["tools"][0].update(parameters="{"), "prompt.tools[0].parameters is not JSON"),
        (lambda p: p["tools"][0].update(parameters="[]"), "no JSON Schema"),
        (lambda p: p["tools"][0].update(name="<tool>"), "not the name of a tool"),
        (lambda p: p["tools"].pop(), "prompt_digest"),
        (lambda p: p["messages"][1]["tool_calls"][0].update(arguments="[]"), "not an object"),
        (lambda p: p["messages"][1]["tool_calls"][0].pop("id"), "prompt.messages[1].tool_calls[0].id is missing"),
        (lambda p: p["messages"][0].update(tool_calls=p["messages"][1]["tool_calls"]), "only an assistant's"),
        (lambda p: p.update(messages=None, clock=None, raw=""), "tools stands beside"),
    ],
)
def test_edited_tools_are_refused_for_what_was_edited(change: Callable[[dict[str, Any]], object], words: str) -> None:
    document = json.loads(replace(RECEIPT, ask=CALLING).encode())
    change(document["prompt"])
    with pytest.raises(InvalidReceipt) as refused:
        decode(json.dumps(document).encode())
    assert words in str(refused.value)


@pytest.mark.parametrize("ask", [CHAT, CALLING, Raw("Once upon a time"), Raw("")])
def test_a_receipt_is_read_back_as_it_was(ask: Chat | Raw) -> None:
    receipt = replace(RECEIPT, ask=ask)
    assert decode(receipt.encode()) == receipt


def test_every_setting_is_read_back() -> None:
    sampling = Sampling(
        typical_p=0.9,
        repeat_penalty=1.1,
        repeat_last_n=-1,
        frequency_penalty=0.5,
        presence_penalty=-0.5,
        logit_bias=((7, -100.0), (8, 1.5)),
        seed=7,
        stop=("END",),
        stop_tokens=(3, 4),
        logprobs=5,
        grammar='root ::= [a-z]+ "é"\n',
        shown_tokens=(5,),
    )
    engine = EngineSettings(512, parallel=4, threads=2, split="row", repack=False, unified=True, exact=True)
    receipt = replace(RECEIPT, sampling=sampling, engine=engine)
    assert decode(receipt.encode()) == receipt
    different = [field.name for field in fields(Sampling) if getattr(sampling, field.name) != field.default]
    assert {field.name for field in fields(Sampling)} - set(different) == {
        *("temperature", "top_k", "top_p", "min_p", "max_tokens", "ignore_eos")
    }


def test_a_receipt_of_before_a_setting_was_there_is_read_with_what_was_done_then() -> None:
    def forget(document: dict[str, Any]) -> None:
        first = ("temperature", "top_k", "top_p", "min_p", "seed", "max_tokens", "stop")
        document["sampling"] = {name: document["sampling"][name] for name in first}
        for name in ("parallel", "split", "repack", "unified", "swa_full", "exact"):
            del document["engine"][name]

    assert decode(edited(forget)) == RECEIPT


def test_kernels_that_were_switched_off_are_named_and_others_are_not_spoken_of() -> None:
    receipt = replace(RECEIPT, build=replace(BUILD, switched_off=("repack",)))
    assert decode(receipt.encode()) == receipt
    assert b'"switched_off":["repack"]' in receipt.encode()
    assert b"switched_off" not in RECEIPT.encode()
    assert changes(BUILD, receipt.build) == ("kernels switched off: repack now only",)


def test_a_receipt_has_one_spelling() -> None:
    data = RECEIPT.encode()
    assert data == canonical(json.loads(data)) + b"\n"
    assert decode(json.dumps(json.loads(data), indent=4).encode()).encode() == data


def test_the_digests_can_be_checked_with_any_tool() -> None:
    document = json.loads(RECEIPT.encode())
    tokens = b"\x01\x00\x00\x00\x02\x00\x00\x00\x02\x01\x00\x00"
    assert document["output"]["tokens_digest"] == "sha256:" + hashlib.sha256(tokens).hexdigest()
    messages = '[{"content":"Be brief.","role":"system"},{"content":"Grüße\\n学校","role":"user"}]'
    assert document["prompt_digest"] == "sha256:" + hashlib.sha256(messages.encode()).hexdigest()
    assert Raw("Grüße").digest.hex == hashlib.sha256("Grüße".encode()).hexdigest()


def test_nothing_tells_of_the_machine_or_its_people(tmp_path: Path) -> None:
    import getpass
    import socket

    write(RECEIPT, tmp_path / "receipt.json")
    text = (tmp_path / "receipt.json").read_text()
    for secret in (socket.gethostname(), str(tmp_path), str(Path.home()) + "/", f'"{getpass.getuser()}"'):
        assert secret not in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["output"]["tokens"].append(5), "tokens_digest"),
        (lambda d: d["prompt"]["messages"][1].update(content="other"), "prompt_digest"),
        (lambda d: d["prompt"].update(raw="other"), "messages and a raw"),
        (lambda d: d["prompt"].update(messages=None), "clock stands beside"),
        (lambda d: d["prompt"].update(messages=None, clock=None), "prompt.raw is not a text"),
        (lambda d: d["prompt"].update(clock="noon"), "not a time"),
        (lambda d: d["prompt"].update(clock="2026-01-01T00:00:00+01:00"), "not a local time"),
        (lambda d: d["prompt"]["messages"][1].update(role="a<b"), "not a role"),
        (lambda d: d["prompt"]["messages"][1].update(nick="x"), "prompt.messages[1].nick is not a field"),
        (lambda d: d["prompt"]["messages"][1].update(content="\ud800"), "surrogate"),
        (lambda d: d.pop("output"), "output is missing"),
        (lambda d: d.update(note="x"), "note is not a field"),
        (lambda d: d.update(model="sha256:abc"), "model is not a SHA-256 digest"),
        (lambda d: d.update(files={}), "files is not a list"),
        (lambda d: d["files"][0].update(role="king"), "files[0].role"),
        (lambda d: d.update(output=[]), "output is not an object"),
        (lambda d: d["output"].update(tokens=[2**31]), "output.tokens[0]"),
        (lambda d: d["output"].update(tokens=[True]), "output.tokens[0]"),
        (lambda d: d["output"].update(finish_reason="bored"), "finish_reason"),
        (lambda d: d["sampling"].update(seed=None), "seed"),
        (lambda d: d["sampling"].update(temperature=float("nan")), "temperature"),
        (lambda d: d["sampling"].update(top_k="many"), "top_k"),
        (lambda d: d["sampling"].update(stop=[""]), "stop"),
        (lambda d: d["sampling"].update(typical_p=2), "typical_p"),
        (lambda d: d["sampling"].update(repeat_penalty="x"), "repeat_penalty"),
        (lambda d: d["sampling"].update(logit_bias={"1": 2}), "logit_bias is not a list"),
        (lambda d: d["sampling"].update(logit_bias=[[1]]), "logit_bias[0] is not a pair"),
        (lambda d: d["sampling"].update(logit_bias=[[[], {}]]), "logit_bias"),
        (lambda d: d["sampling"].update(stop_tokens=[-1]), "stop_tokens[0]"),
        (lambda d: d["sampling"].update(ignore_eos=0), "ignore_eos"),
        (lambda d: d["sampling"].update(grammar=7), "sampling.grammar is not a text"),
        (lambda d: d["sampling"].update(grammar="root ::= a"), "a rule 'a' that it does not have"),
        (lambda d: d["sampling"].update(mirostat=2), "sampling.mirostat is not a field"),
        (lambda d: d["engine"].update(threads=10**9), "threads"),
        (lambda d: d["engine"].update(split=["none"]), "engine.split is not a text"),
        (lambda d: d["engine"].update(exact="yes"), "exact"),
        (lambda d: d["engine"].update(batch_size=0), "batch_size"),
        (lambda d: d["engine"].update(key_type="q1"), "key_type"),
        (lambda d: d["engine"].update(flash_attention=2), "flash_attention"),
        (lambda d: d["build"].update(devices="none"), "build.devices is not a list"),
        (lambda d: d.update(kind="cache-receipt"), "kind"),
        (lambda d: d.update(format=0), "format is 0"),
        (lambda d: d.update(format="1"), "format is '1'"),
        (lambda d: d.update(created=-1), "created"),
    ],
)
def test_an_edited_receipt_is_refused_for_what_was_edited(
    change: Callable[[dict[str, Any]], object], words: str
) -> None:
    with pytest.raises(InvalidReceipt) as refused:
        decode(edited(change))
    assert words in str(refused.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"GGUF\x03", b"[" * 100_000, b"\xff\xfe", b"1" * 5000])
def test_what_is_no_receipt_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidReceipt):
        decode(data)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(format=2),
        lambda d: d.update(format=2, output="in another form"),
        lambda d: d.update(adapters=[str(WEIGHTS)]),
        lambda d: d.update(program=str(WEIGHTS)),
    ],
)
def test_a_receipt_of_a_later_llstore_says_so(change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(FormatTooNew, match=r"format 2|adapters or a program"):
        decode(edited(change))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_any_value_anywhere_is_read_or_refused(data: st.DataObject) -> None:
    document = json.loads(RECEIPT.encode())
    place: Any = document
    key = data.draw(st.sampled_from(sorted(place)))
    while isinstance(place[key], dict) and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place)))
    place[key] = data.draw(JSON)
    try:
        decode(json.dumps(document).encode())
    except (InvalidReceipt, FormatTooNew):
        return


def test_a_receipt_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    write(RECEIPT, path)
    write(replace(RECEIPT, created=1), path)
    assert read(path).created == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["receipt.json"]


def test_a_full_disk_leaves_the_old_receipt(tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    write(RECEIPT, path)
    with files_no_longer_than(500), pytest.raises(NoSpace, match="file too large"):
        write(replace(RECEIPT, created=1), path)
    assert read(path) == RECEIPT
    assert [entry.name for entry in tmp_path.iterdir()] == ["receipt.json"]


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "absent" / "receipt.json")
    for path in (tmp_path, tmp_path / "absent" / "r.json", tmp_path / "dangling", Path("/dev/null")):
        with pytest.raises(DiskError):
            writable(path)
    assert writable(tmp_path / "new.json") == tmp_path / "new.json"


def test_a_link_is_followed_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(RECEIPT, writable(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert read(tmp_path / "real") == read(tmp_path / "link") == RECEIPT


def test_reading_is_bounded_and_waits_for_nothing(tmp_path: Path) -> None:
    import os

    with (tmp_path / "long").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(InvalidReceipt, match="longer than"):
        read(tmp_path / "long")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(InvalidReceipt, match="not a regular file"):
            read(path)
    with pytest.raises(FileNotThere):
        read(tmp_path / "absent")


@pytest.mark.parametrize(
    ("then", "now", "place"),
    [([], [], None), ([1, 2], [1, 2], None), ([1, 2], [1, 3], 1), ([1], [1, 2], 1), ([1, 2, 3], [], 0)],
)
def test_the_first_difference_is_where_two_answers_part(then: list[int], now: list[int], place: int | None) -> None:
    assert first_difference(then, now) == place


def test_the_same_build_has_no_changes_and_another_is_told_in_words() -> None:
    assert changes(BUILD, BUILD) == ()
    other = replace(BUILD, llama_cpp_python="0.3.40", cpu_features=("FMA",), devices=(), machine="aarch64")
    assert changes(BUILD, other) == (
        "llama-cpp-python 0.3.36 then, 0.3.40 now",
        "machine x86_64 then, aarch64 now",
        "processor features: AVX2 then only; FMA now only",
        "GPU CUDA0: a card then, none now",
    )
    (only,) = changes(BUILD, replace(BUILD, system_info="CPU : AVX2 = 1 | REPACK = 1"))
    assert "REPACK" in only


def test_templates_are_told_the_time_they_are_given() -> None:
    template = Template("{{ strftime_now('%Y-%m-%d %H:%M') }}", bos="", eos="", now=datetime(2001, 2, 3, 4, 5))
    assert template.render([]) == "2001-02-03 04:05"


def test_a_template_cannot_reach_the_clock_behind_its_function() -> None:
    template = Template("{{ strftime_now.__self__ is defined }}", bos="", eos="")
    assert template.render([]) == "False"


@pytest.mark.parametrize("field", [{"threads": 0}, {"threads": 513}, {"gpu_layers": -1}, {"value_type": "f17"}])
def test_engine_settings_out_of_range_are_refused(field: dict[str, Any]) -> None:
    with pytest.raises(InvalidEngine, match=next(iter(field))):
        EngineSettings(256, **field)
