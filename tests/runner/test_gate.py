"""The gate in front of llama.cpp: a verdict is asked for once a digest, and what does not pass is not let in."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from gguf_bytes import u32, words
from sound import Sound

from llstore.runner import gate
from llstore.runner.errors import ExtraMissing
from llstore.store import GetResult, PutRequest, Settings, Store
from llstore.store.errors import Unsafe
from llstore.store.gate import CHECKER, Problem, TemplateState, Verdict


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with Store(settings) as found:
        yield found


def stored(store: Store, folder: Path, file: Sound) -> GetResult:
    (folder / "model.gguf").write_bytes(file.encode())
    return store.get(store.put(PutRequest(folder / "model.gguf")).manifest.model)


def templated() -> Sound:
    return Sound().with_keys(t=words("tokenizer.chat_template", "{{ messages }}"))


def test_a_sound_model_passes_and_its_verdict_is_kept(store: Store, tmp_path: Path) -> None:
    model = stored(store, tmp_path, templated())
    gate.admit(model, store.cache)
    kept = store.cache.verdicts.find(model.manifest.model)
    assert kept == Verdict((), TemplateState.LINTED)


def test_a_kept_verdict_is_believed_and_the_file_not_looked_at(store: Store, tmp_path: Path) -> None:
    model = stored(store, tmp_path, Sound())
    digest = model.manifest.model
    store.cache.verdicts.keep(digest, Verdict((Problem("odd", "it is odd"),)))
    with pytest.raises(Unsafe, match="it is odd"):
        gate.admit(model, store.cache)
    assert gate.verdict(tmp_path / "absent", digest, store.cache).problems[0].code == "odd"


def test_the_first_problem_is_named_and_the_way_on(store: Store, tmp_path: Path) -> None:
    wrong = Sound().with_keys(llama__block_count=u32("llama.block_count", 0), x=u32("x\0y", 1))
    model = stored(store, tmp_path, wrong)
    with pytest.raises(Unsafe, match="holds a zero byte") as refusal:
        gate.admit(model, store.cache)
    assert f"llstore check {model.manifest.model.short}" in refusal.value.hint
    assert "--unchecked" in refusal.value.hint


def test_another_version_of_the_gate_looks_again(store: Store, tmp_path: Path) -> None:
    model = stored(store, tmp_path, Sound())
    store.cache.verdicts.keep(model.manifest.model, Verdict((Problem("odd", "it was odd"),), checker=CHECKER + 1))
    assert store.cache.verdicts.find(model.manifest.model) is None
    gate.admit(model, store.cache)


def test_a_template_that_was_not_linted_is_linted_when_it_can_be(store: Store, tmp_path: Path) -> None:
    model = stored(store, tmp_path, templated())
    store.cache.verdicts.keep(model.manifest.model, Verdict((), TemplateState.NOT_LINTED))
    gate.admit(model, store.cache)
    kept = store.cache.verdicts.find(model.manifest.model)
    assert kept is not None
    assert kept.complete


def test_without_a_linter_a_template_is_not_let_in(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = stored(store, tmp_path, templated())
    # As where jinja2 is not installed: the import fails.
    monkeypatch.setitem(__import__("sys").modules, "llstore.runner.chat.lint", None)
    assert gate.linter() is None
    with pytest.raises(ExtraMissing, match="jinja2"):
        gate.admit(model, store.cache)
    gate.admit(stored(store, tmp_path, Sound()), store.cache)


def test_a_hostile_template_does_not_pass(store: Store, tmp_path: Path) -> None:
    model = stored(store, tmp_path, Sound().with_keys(t=words("tokenizer.chat_template", "{{ ''.__class__ }}")))
    with pytest.raises(Unsafe, match="__class__"):
        gate.admit(model, store.cache)


def test_a_broken_row_is_no_verdict(store: Store, tmp_path: Path) -> None:
    model = stored(store, tmp_path, Sound())
    digest = model.manifest.model
    for text in ("", "[]", '{"problems": 1}', "{}", '{"problems": [], "template": "odd", "checker": 1}'):
        store.cache._db.write(
            ("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?)", (digest.hex, CHECKER, text)),
        )
        assert store.cache.verdicts.find(digest) is None, text
    gate.admit(model, store.cache)
