"""Tuning tries what was not asked for, believes only what is clearly so, and its figures are found again."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from llstore.runner.engine_settings import EngineSettings
from llstore.runner.placement.choose import choose
from llstore.runner.placement.facts import ModelFacts
from llstore.runner.placement.machine import Machine
from llstore.runner.placement.stages import clearly_faster, fastest, gain, merged, middle, stages
from llstore.runner.placement.tuned import Speeds, Tuned
from llstore.runner.placement.tuned_file import TunedFile
from llstore.runner.placement.tuning import tune
from llstore.runner.placement.wanted import Wanted
from llstore.store import Digest
from llstore.store.gguf import read_header

MACHINE = Machine(free=8 << 30, cores=4, most_threads=8)
BASE = EngineSettings(1024, parallel=16, flash_attention=True, threads=4)
MODEL, OTHER = Digest.of(b"model"), Digest.of(b"other")
TUNED = Tuned(
    settings={"threads": 3, "repack": False},
    parallel=16,
    date="2026-10-01",
    before=Speeds(400.0, 60.5, 230.25),
    after=Speeds(430.0, 61.0, 260.0),
    steps={1: 0.0161, 2: 0.02},
)


def tried(wanted: Wanted, base: EngineSettings = BASE, **known: bool) -> dict[str, list[dict[str, int | bool]]]:
    found = stages(base, wanted, MACHINE, prompt=1024, on_gpu=known.get("on_gpu", False))
    return {stage.name: [dict(values) for values in stage.candidates] for stage in found}


def speeds(*values: float) -> list[Speeds]:
    return [Speeds(value, value, value) for value in values]


def test_everything_that_was_not_asked_for_is_tried() -> None:
    found = tried(Wanted())
    assert list(found) == ["KV layout", "repacking", "threads", "batch size"]
    assert len(found["KV layout"]) == 4
    assert [values["threads"] for values in found["threads"]] == [1, 2, 4, 8]
    assert [values["batch_size"] for values in found["batch size"]] == [128, 256, 512, 1024]


@pytest.mark.parametrize(
    ("wanted", "stage"),
    [
        (Wanted(unified=False, flash_attention="on"), "KV layout"),
        (Wanted(repack=True), "repacking"),
        (Wanted(threads=2), "threads"),
        (Wanted(batch_size=64), "batch size"),
    ],
)
def test_what_was_asked_for_is_not_tried(wanted: Wanted, stage: str) -> None:
    assert set(tried(Wanted())) - set(tried(wanted)) == {stage}


def test_a_quantized_cache_is_not_tried_without_flash_attention() -> None:
    quantized = replace(BASE, key_type="q8_0", value_type="q8_0")
    assert tried(Wanted(), quantized)["KV layout"] == [{"unified": False}, {"unified": True}]


def test_one_sequence_has_no_pool_and_a_gpu_repacks_nothing() -> None:
    assert tried(Wanted(), replace(BASE, parallel=1))["KV layout"] == [
        {"flash_attention": True},
        {"flash_attention": False},
    ]
    assert "repacking" not in tried(Wanted(), on_gpu=True)


def test_candidates_are_settings() -> None:
    for stage in stages(BASE, Wanted(), MACHINE, prompt=1024, on_gpu=False):
        for values in stage.candidates:
            assert {name: getattr(merged(BASE, values), name) for name in values} == values


def test_the_first_stays_unless_another_is_clearly_faster() -> None:
    current = speeds(100, 100, 100)
    assert fastest([current, speeds(101, 101, 101)]) == 0
    assert fastest([current, speeds(110, 110, 110), speeds(105, 105, 105)]) == 1
    assert fastest([current, speeds(90, 90, 90)]) == 0


def test_of_few_rounds_nothing_follows() -> None:
    assert not clearly_faster(speeds(200, 200), speeds(100, 100))
    assert clearly_faster(speeds(200, 200, 200), speeds(100, 100, 100))


def test_a_machine_that_slows_down_meanwhile_does_not_decide() -> None:
    # What is compared is each round in itself: the machine gets slower, the candidate is 10 % faster throughout.
    assert clearly_faster(speeds(110, 55, 22, 11), speeds(100, 50, 20, 10))
    assert not clearly_faster(speeds(200, 50, 20, 10), speeds(100, 50, 20, 10))


def test_gain_and_middle() -> None:
    assert gain(Speeds(200, 100, 100), Speeds(100, 100, 100)) == pytest.approx(2 ** (1 / 3))
    assert middle([Speeds(1, 6, 9), Speeds(2, 5, 7), Speeds(3, 4, 8)]) == Speeds(2, 5, 8)


def test_a_model_is_tuned_and_what_was_found_can_be_used(tiny: Path) -> None:
    with tiny.open("rb") as file:
        model = ModelFacts.of([read_header(file, tiny.stat().st_size)])
    wanted = Wanted(parallel=4, context=256)
    placement = choose(model, MACHINE, wanted)
    said: list[str] = []
    found = tune([tiny], placement, wanted, seconds=2.0, say=said.append)
    assert said
    assert found.parallel == 4
    assert set(found.steps) == {1, 2, 3, 4}
    assert all(seconds > 0 for seconds in found.steps.values())
    assert found.before.prompt > 0 < found.after.all
    assert Tuned.read(json.loads(json.dumps(found.document()))) == found
    # What was found can be used.
    assert choose(model, MACHINE, wanted, tuned=found).tuned == found


def test_figures_are_found_by_model_and_machine(tmp_path: Path) -> None:
    file = TunedFile(tmp_path / "data/tuned.json")
    assert not file.exists
    assert file.find(MODEL, "here") is None
    file.keep(MODEL, {"processor": "x"}, "here", TUNED)
    file.keep(OTHER, {"processor": "x"}, "here", replace(TUNED, date="2026-10-02"))
    again = TunedFile(tmp_path / "data/tuned.json")
    assert again.find(MODEL, "here") == TUNED
    assert again.find(OTHER, "here") == replace(TUNED, date="2026-10-02")
    assert again.find(MODEL, "elsewhere") is None


def test_new_figures_replace_old_ones_and_can_be_forgotten(tmp_path: Path) -> None:
    file = TunedFile(tmp_path / "tuned.json")
    file.keep(MODEL, {}, "here", TUNED)
    file.keep(OTHER, {}, "here", TUNED)
    file.keep(MODEL, {}, "here", replace(TUNED, settings={}))
    assert file.find(MODEL, "here") == replace(TUNED, settings={})
    assert file.forget(MODEL, "here")
    assert not file.forget(MODEL, "here")
    assert file.find(MODEL, "here") is None
    assert file.find(OTHER, "here") == TUNED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": 2, "machines": {}}',
        '{"format": 1, "machines": []}',
        '{"format": 1, "machines": {"here": 1}}',
        '{"format": 1, "machines": {"here": {"models": []}}}',
        "\0",
    ],
)
def test_a_broken_file_holds_nothing_and_is_written_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "tuned.json").write_text(text)
    file = TunedFile(tmp_path / "tuned.json")
    assert file.find(MODEL, "here") is None
    assert not file.forget(MODEL, "here")
    file.keep(MODEL, {}, "here", TUNED)
    assert file.find(MODEL, "here") == TUNED


@pytest.mark.parametrize(
    "settings", [{"threads": 0}, {"threads": True}, {"repack": 1}, {"n_gpu": 1}, {"threads": "2"}, 3]
)
def test_settings_that_cannot_be_are_not_used(tmp_path: Path, settings: object) -> None:
    file = TunedFile(tmp_path / "tuned.json")
    file.keep(MODEL, {}, "here", TUNED)
    said = json.loads((tmp_path / "tuned.json").read_text())
    said["machines"]["here"]["models"][str(MODEL)]["settings"] = settings
    (tmp_path / "tuned.json").write_text(json.dumps(said))
    assert file.find(MODEL, "here") is None
