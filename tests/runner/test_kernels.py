"""Kernels are tried before they are used: what fails is switched off, said once, and remembered."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from llstore.runner.engine_settings import EngineSettings
from llstore.runner.errors import KernelsBroken
from llstore.runner.generate import Generator
from llstore.runner.kernels.kernel_check import FINE, KernelCheck, run_cases
from llstore.runner.kernels.kernel_file import KernelFile, processor_facts
from llstore.runner.kernels.kernel_trial import SECONDS
from llstore.runner.kernels.kernels import FLASH, GPU, REPACK, UNUSED, Case, Kernels, cases, switched_off
from llstore.runner.kernels.tiny_model import ANSWER, PROMPT, tiny_model
from llstore.runner.sampling import Sampling
from llstore.store.gate import check_file
from llstore.store.gguf.types import TENSOR_TYPES

SETTINGS = EngineSettings(512)
TYPES = frozenset({"Q4_1", "Q8_0"})
WEIGHTS = sorted({name for name, _, _ in TENSOR_TYPES.values()} - UNUSED)


@dataclass
class Build:
    """A build of llama.cpp that dies in some cases: `kills` says which. `tried` has all that it was given."""

    kills: "frozenset[str]" = frozenset()
    weights: str = "Q4_1"
    tried: list[Case] = field(default_factory=list)

    def run(self, wanted: Sequence[Case], _say: object) -> dict[Case, str]:
        found: dict[Case, str] = {}
        for case in wanted:
            self.tried.append(case)
            found[case] = "SIGSEGV" if self.dies(case) else FINE
            if found[case]:
                break
        return found

    def dies(self, case: Case) -> bool:
        on = {name for name in (REPACK, FLASH, GPU) if getattr(case.kernels, name)}
        return case.weights == self.weights and bool(on & self.kills or "always" in self.kills)


@dataclass
class Checked:
    """A check over a build, and what it has said."""

    build: Build
    path: Path
    said: list[str] = field(default_factory=list)

    def switched_off(self, settings: EngineSettings = SETTINGS, types: frozenset[str] = TYPES) -> frozenset[str]:
        return self.check.switched_off(types, settings)

    @property
    def check(self) -> KernelCheck:
        return KernelCheck(KernelFile(self.path), self.said.append, run=self.build.run)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data/kernels.json"


def test_where_all_kernels_work_nothing_is_switched_off_or_said(path: Path) -> None:
    checked = Checked(Build(), path)
    assert checked.switched_off() == frozenset()
    assert checked.said == []
    assert {case.weights for case in checked.build.tried} == TYPES


def test_what_dies_is_switched_off_and_said_in_one_line(path: Path) -> None:
    checked = Checked(Build(frozenset({REPACK})), path)
    assert checked.switched_off() == {REPACK}
    (line,) = checked.said
    assert "SIGSEGV with Q4_1 weights" in line
    assert "repacking is off" in line


def test_a_verdict_is_remembered_by_weights_and_settings(path: Path) -> None:
    Checked(Build(frozenset({REPACK})), path).switched_off()
    again = Checked(Build(), path)
    assert again.switched_off() == {REPACK}
    assert (again.build.tried, again.said) == ([], [])
    again.switched_off(EngineSettings(512, flash_attention=True))
    assert {case.kernels.flash_attention for case in again.build.tried} == {True}
    again.build.tried.clear()
    again.switched_off(types=frozenset({"Q4_1", "Q6_K"}))
    assert {case.weights for case in again.build.tried} <= {"Q6_K"}


def test_only_what_fails_is_switched_off(path: Path) -> None:
    settings = EngineSettings(512, flash_attention=True, key_type="q8_0", value_type="q8_0", gpu_layers=3)
    off = Checked(Build(frozenset({GPU})), path).switched_off(settings)
    assert off == {GPU}
    assert switched_off(settings, off) == EngineSettings(512, flash_attention=True, key_type="q8_0", value_type="q8_0")


def test_a_quantized_cache_goes_with_the_flash_attention_that_it_needs(path: Path) -> None:
    settings = EngineSettings(512, flash_attention=True, key_type="q8_0", value_type="q8_0")
    off = Checked(Build(frozenset({FLASH})), path).switched_off(settings)
    assert off == {FLASH}
    assert switched_off(settings, off) == SETTINGS


def test_two_faults_are_both_switched_off(path: Path) -> None:
    settings = EngineSettings(512, flash_attention=True)
    off = Checked(Build(frozenset({FLASH, REPACK})), path).switched_off(settings)
    assert {FLASH, REPACK} <= off


def test_a_build_that_always_dies_is_refused_in_a_line(path: Path) -> None:
    with pytest.raises(KernelsBroken, match=r"SIGSEGV with Q4_1 weights, whatever is switched off") as refused:
        Checked(Build(frozenset({"always"})), path).switched_off()
    assert "pip install" in refused.value.hint


def test_models_of_other_weights_are_not_refused(path: Path) -> None:
    assert Checked(Build(frozenset({"always"})), path).switched_off(types=frozenset({"Q8_0"})) == frozenset()


def test_an_end_that_says_nothing_of_kernels_is_not_remembered(path: Path) -> None:
    check = KernelCheck(KernelFile(path), lambda _: None, run=lambda *_: {})
    assert check.switched_off(TYPES, SETTINGS) == frozenset()
    assert KernelFile(path).read() == {}


def test_what_takes_too_long_is_switched_off_this_time_and_not_remembered(path: Path) -> None:
    slow = f"no end within {SECONDS} s"
    for _ in range(2):
        tried: list[Case] = []

        def run(wanted: Sequence[Case], _say: object, tried: list[Case] = tried) -> dict[Case, str]:
            tried += wanted
            return {case: slow if case.kernels.repack else FINE for case in wanted}

        assert KernelCheck(KernelFile(path), lambda _: None, run=run).switched_off(TYPES, SETTINGS) == {REPACK}
        assert any(case.kernels.repack for case in tried)


def test_a_survey_tries_everything_anew(path: Path) -> None:
    checked = Checked(Build(frozenset({REPACK})), path)
    assert checked.check.survey(TYPES, SETTINGS) == {"Q4_1": {REPACK}, "Q8_0": frozenset()}
    mended = Checked(Build(), path)
    assert mended.check.survey(TYPES, SETTINGS) == {"Q4_1": frozenset(), "Q8_0": frozenset()}
    assert mended.switched_off() == frozenset()
    with pytest.raises(KernelsBroken):
        Checked(Build(frozenset({"always"})), path).check.survey(TYPES, SETTINGS)


def test_nothing_is_tried_twice_in_one_search() -> None:
    for kernels in (Kernels(True, True, "q8_0", "q8_0", True), Kernels(True, False), Kernels(False, False)):
        tried = [kernels.without(off) for off in kernels.attempts()]
        assert len(set(tried)) == len(tried)
        assert tried[0] == kernels
        assert tried[-1] == Kernels(False, False)


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1, "machines": {}}', "\0"])
def test_a_damaged_memory_is_made_anew(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    assert Checked(Build(frozenset({REPACK})), path).switched_off() == {REPACK}
    assert Checked(Build(), path).switched_off() == {REPACK}


def test_a_memory_that_cannot_be_written_costs_a_trial_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    checked = Checked(Build(frozenset({REPACK})), tmp_path / "data/kernels.json")
    assert checked.switched_off() == {REPACK}


def test_other_libraries_are_another_build(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Checked(Build(frozenset({REPACK})), path).switched_off()
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/libllama.so").write_text("another one")
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(tmp_path / "lib"))
    other = Checked(Build(), path)
    assert other.switched_off() == frozenset()
    assert other.build.tried


def test_a_processor_is_what_its_first_entry_says(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: A\nflags\t: amx_tile\n\nprocessor\t: 1\nmodel name\t: B\n")
    assert processor_facts(cpuinfo) == ["model name\t: A", "flags\t: amx_tile"]
    assert len(processor_facts(tmp_path / "none")) == 1


def test_real_kernels_of_every_type_of_weights_compute() -> None:
    """One process tries all that this llama.cpp has, with the settings of `run` and of `serve`."""
    settings = (SETTINGS, EngineSettings(512, flash_attention=True, key_type="q8_0", value_type="q8_0"))
    wanted = [case for each in settings for case in cases(frozenset(WEIGHTS), Kernels.of(each))]
    assert run_cases(wanted, print) == dict.fromkeys(wanted, FINE)


@pytest.mark.parametrize("weights", ["F32", "Q4_1", "Q4_K", "Q6_K", "IQ4_XS", "MXFP4"])
def test_the_tiny_model_passes_the_gate_and_goes_on_with_the_alphabet(weights: str, tmp_path: Path) -> None:
    from llstore.runner.llama.model import LlamaModel

    file = tmp_path / "tiny.gguf"
    file.write_bytes(tiny_model(weights))
    assert check_file(file, None).safe
    assert tiny_model(weights) == file.read_bytes()
    with LlamaModel(file) as model:
        prompt = model.tokenize(PROMPT, add_special=True, parse_special=False)
        answer = Generator(model, prompt, Sampling(temperature=0, max_tokens=64))
        assert "".join(answer) == ANSWER
        assert answer.result.finish_reason == "stop"
