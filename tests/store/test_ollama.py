"""Imports from a folder of Ollama's."""

import hashlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ollama
import pytest

from llstore.store import Name, PutRequest, Settings, Store
from llstore.store.errors import Damaged, FileNotThere, InvalidSource, ModelNotFound, Unsafe
from llstore.store.exchange.arriving import Imported, Wishes
from llstore.store.exchange.ollama import OllamaRef, find, import_ollama

Command = Callable[..., subprocess.CompletedProcess[str]]
PARAMS = b'{"stop":["<|end|>"]}'


@pytest.fixture
def folder(tmp_path: Path, tiny: Path, projector: Path) -> Path:
    models = tmp_path / "ollama/models"
    ollama.write_model(models, "tiny", [("model", tiny.read_bytes()), ("template", b"{{ .Prompt }}")], tag="1b")
    layers = [
        ("model", tiny.read_bytes()),
        ("projector", projector.read_bytes()),
        ("license", b"do what you like"),
        ("params", PARAMS),
        ("system", b"Be kind."),
    ]
    ollama.write_model(models, "team/sees", layers)
    return models


def brought(settings: Settings, folder: Path, text: str, *, link: bool = False, **wishes: object) -> Imported:
    with Store(settings) as store:
        model = find(OllamaRef.parse(text), [folder.parent / "absent", folder])
        return import_ollama(store, model, Wishes(**wishes), link=link)  # type: ignore[arg-type]


def blob(folder: Path, data: bytes) -> Path:
    return folder / f"blobs/sha256-{hashlib.sha256(data).hexdigest()}"


def test_a_model_is_stored_under_the_digest_that_ollama_knows_it_by(
    settings: Settings, folder: Path, tiny: Path
) -> None:
    done = brought(settings, folder, "ollama:tiny:1b", name=Name.parse("o/tiny"), labels={"a": "b"})
    assert done.manifest.model.hex == hashlib.sha256(tiny.read_bytes()).hexdigest()
    with Store(settings) as store:
        assert store.get(Name.parse("o/tiny")).path.read_bytes() == tiny.read_bytes()
        model = store.model(done.manifest.model)
    assert (model.labels, model.annotations) == ({"a": "b"}, {"source": "ollama:tiny:1b"})
    assert blob(folder, tiny.read_bytes()).read_bytes() == tiny.read_bytes()


def test_layers_become_files_with_roles_and_settings_become_annotations(
    settings: Settings, folder: Path, bucket: str
) -> None:
    for where in (settings, replace(settings, url=bucket)):
        done = brought(where, folder, "ollama:team/sees")
        assert [str(file.role) for file in done.manifest.files] == ["weights", "projector", "license"]
        with Store(where) as store:
            said = store.model(done.manifest.model).annotations
        assert said == {
            "source": "ollama:team/sees:latest",
            "ollama.params": PARAMS.decode(),
            "ollama.system": "Be kind.",
        }


def test_a_second_import_reads_and_stores_nothing(settings: Settings, folder: Path) -> None:
    first = brought(settings, folder, "ollama:team/sees")
    for path in (folder / "blobs").iterdir():
        path.chmod(0)
        path.rename(path.with_name(path.name + ".gone"))
    again = brought(settings, folder, "ollama:team/sees", name=Name.parse("o/sees"))
    assert (again.manifest, again.uploaded_bytes, again.names) == (first.manifest, 0, ("o/sees:latest",))


def test_with_link_it_is_the_very_same_file(settings: Settings, folder: Path, tiny: Path) -> None:
    done = brought(settings, folder, "ollama:tiny:1b", link=True)
    with Store(settings) as store:
        path = store.get(done.manifest.model).path
        assert path.samefile(blob(folder, tiny.read_bytes()))
        blob(folder, tiny.read_bytes()).unlink()
        assert store.get(done.manifest.model).path.read_bytes() == tiny.read_bytes()


def test_without_link_ollamas_file_is_its_own(settings: Settings, folder: Path, tiny: Path) -> None:
    done = brought(settings, folder, "ollama:tiny:1b")
    with Store(settings) as store:
        path = store.get(done.manifest.model).path
    assert not path.samefile(blob(folder, tiny.read_bytes()))
    assert path.stat().st_mode & 0o777 == 0o444


def test_a_link_needs_a_store_on_this_machine(settings: Settings, folder: Path, bucket: str) -> None:
    with pytest.raises(InvalidSource, match="cannot link"):
        brought(replace(settings, url=bucket), folder, "ollama:tiny:1b", link=True)


@pytest.mark.parametrize("link", [True, False])
def test_a_damaged_blob_is_refused(settings: Settings, folder: Path, tiny: Path, link: bool) -> None:
    path = blob(folder, tiny.read_bytes())
    path.write_bytes(tiny.read_bytes()[:-1] + b"?")
    with pytest.raises(Damaged, match=path.name):
        brought(settings, folder, "ollama:tiny:1b", link=link)
    with Store(settings) as store:
        assert store.models() == []
    assert not list(settings.embedded.glob("blobs/**/*"))


def test_a_damaged_copy_in_the_embedded_store_is_healed(settings: Settings, folder: Path, tiny: Path) -> None:
    done = brought(settings, folder, "ollama:tiny:1b")
    with Store(settings) as store:
        path = store.cache.path(done.manifest.model)
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    assert brought(settings, folder, "ollama:tiny:1b").uploaded_bytes == tiny.stat().st_size
    with Store(settings) as store:
        assert store.get(done.manifest.model).path.read_bytes() == tiny.read_bytes()


def test_a_missing_blob_is_not_there(settings: Settings, folder: Path, tiny: Path) -> None:
    blob(folder, tiny.read_bytes()).unlink()
    with pytest.raises(FileNotThere):
        brought(settings, folder, "ollama:tiny:1b")


def test_an_unknown_name_is_told_with_its_neighbours(settings: Settings, folder: Path) -> None:
    with pytest.raises(ModelNotFound) as caught:
        brought(settings, folder, "ollama:tinny:1b")
    assert "ollama:tiny:1b" in caught.value.hint


@pytest.mark.parametrize("text", ["not json", "[]", "{}", json.dumps({"layers": [{"digest": "x"}]})])
def test_a_manifest_that_is_none_is_refused(settings: Settings, folder: Path, text: str) -> None:
    (folder / "manifests/registry.ollama.ai/library/tiny/1b").write_text(text)
    with pytest.raises(Unsafe, match="not a manifest"):
        brought(settings, folder, "ollama:tiny:1b")


def test_a_model_that_is_no_gguf_is_refused(settings: Settings, folder: Path) -> None:
    ollama.write_model(folder, "old", [("model", b"ggla" + bytes(100))])
    ollama.write_model(folder, "none", [("tensor", b"x")])
    for name in ("old", "none"):
        with pytest.raises(Unsafe):
            brought(settings, folder, f"ollama:{name}")


def test_shards_and_doubled_layers_are_one_model(settings: Settings, folder: Path, shards: list[Path]) -> None:
    layers = [("model", path.read_bytes()) for path in shards]
    ollama.write_model(folder, "split", [*layers, ("license", b"free"), ("license", b"free")])
    done = brought(settings, folder, "ollama:split")
    assert [str(file.role) for file in done.manifest.files] == ["shard"] * 3 + ["license"]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("ollama:a", "registry.ollama.ai/library/a/latest"),
        ("ollama:a:7b-q4", "registry.ollama.ai/library/a/7b-q4"),
        ("ollama:u/a", "registry.ollama.ai/u/a/latest"),
        ("ollama:hf.co/u/a:Q4", "hf.co/u/a/Q4"),
        ("ollama:registry:5000/org/model:tag", "registry:5000/org/model/tag"),
        ("ollama:localhost:5000/org/model", "localhost:5000/org/model/latest"),
    ],
)
def test_a_name_is_where_ollama_keeps_it(text: str, key: str) -> None:
    assert OllamaRef.parse(text).key == f"manifests/{key}"
    assert OllamaRef.parse(str(OllamaRef.parse(text))) == OllamaRef.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "ollama:",
        "ollama:a:",
        "ollama:../a",
        "ollama:a/b/c/d",
        "ollama:a b",
        "ollama:a:b:c",
        "ollama:a:5/b",
        "ollama:h:x/a/b",
    ],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidSource):
        OllamaRef.parse(text)


def test_the_command_finds_the_folder_in_the_environment(llstore: Command, folder: Path, tiny: Path) -> None:
    environment = {"OLLAMA_MODELS": str(folder), "LLSTORE_OFFLINE": "1"}
    done = llstore("import", "ollama:tiny:1b", "--name", "o/tiny", "--link", **environment)
    assert (done.returncode, done.stdout.strip()) == (0, f"sha256:{hashlib.sha256(tiny.read_bytes()).hexdigest()}")
    absent = llstore("import", "ollama:absent", **environment)
    assert (absent.returncode, len(absent.stderr.splitlines())) == (3, 1)
    assert llstore("import", "ollama:../x", **environment).returncode == 2


def test_a_put_of_the_same_file_finds_it(settings: Settings, folder: Path, tiny: Path) -> None:
    brought(settings, folder, "ollama:tiny:1b")
    with Store(settings) as store:
        assert store.put(PutRequest(tiny)).deduplicated
