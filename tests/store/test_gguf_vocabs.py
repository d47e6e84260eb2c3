"""Every GGUF that llama.cpp accepts among the fixtures, and its own vocabularies, is read as others read it."""

import io
import os
import subprocess
import sys
from pathlib import Path

import gguf
import models
import numpy as np
import pytest
import tiny as tiny_model
import vocabs
from ggml import read_in_c

from llstore.runner.chat.lint import lint
from llstore.store import Digest
from llstore.store.gate import check_file
from llstore.store.gguf import GgufHeader, read_header
from llstore.store.gguf.arrays import strings
from llstore.store.gguf.types import ARRAY, STRING

SOAK = os.environ.get("LLSTORE_SOAK") == "1"
MODELS = ["tiny", *models.MODELS]


@pytest.fixture(params=[*MODELS, *vocabs.VOCABS])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return located(request.param, tmp_path)


def located(name: str, folder: Path) -> Path:
    if name == "tiny":
        return tiny_model.write_tiny(folder / "tiny.gguf")
    return models.fetch(name) if name in models.MODELS else vocabs.fetch()[name]


def read(path: Path) -> GgufHeader:
    with path.open("rb") as file:
        return read_header(file, path.stat().st_size)


def test_a_file_is_read_as_ggml_reads_it_and_passes_the_gate(path: Path) -> None:
    header = read(path)
    with read_in_c(path) as theirs:
        assert theirs is not None
        assert list(header.kinds.items()) == list(theirs.keys().items())
        for index, (key, kind) in enumerate(header.kinds.items()):
            if kind == ARRAY:
                found, (inner, length, data) = header.arrays[key], theirs.array(index)
                assert (found.kind, found.length, found.digest, found.size) == (
                    inner,
                    length,
                    Digest.of(data),
                    len(data),
                )
            else:
                assert header.metadata[key] == theirs.scalar(index, kind)
        assert [(one.name, one.type, one.size, one.offset) for one in header.tensors] == theirs.tensors()
        assert not header.tensors or header.data_start == theirs.data_offset()
    assert check_file(path, lint).problems == ()


def test_llama_cpp_takes_all_these_vocabularies() -> None:
    # One of each kind of tokenizer; `make soak` takes all.
    names = vocabs.VOCABS if SOAK else ("llama-spm", "gpt-2", "bert-bge", "nomic-bert-moe")
    paths = [vocabs.fetch()[name] for name in names]
    loads = Path(vocabs.__file__).parent / "loads.py"
    child = subprocess.run([sys.executable, loads, *paths], capture_output=True, text=True, timeout=120)
    assert child.returncode == 0, child.stderr[-500:]
    lines = child.stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["read"] * len(paths)


# gguf-py looks at each string on its own: large vocabularies take it half a minute, and are left to `make soak`.
@pytest.mark.parametrize("name", ["tiny", "smollm2", *(vocabs.VOCABS if SOAK else ("llama-spm", "bert-bge"))])
def test_a_file_is_read_as_gguf_py_reads_it(name: str, tmp_path: Path) -> None:
    path = located(name, tmp_path)
    header, theirs = read(path), gguf.GGUFReader(path)
    fields = {name: field for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    assert list(header.kinds.items()) == [(name, int(field.types[0])) for name, field in fields.items()]
    for key, field in fields.items():
        if field.types[0] == ARRAY:
            # After the key's length and text, two types and a length.
            data = b"".join(np.asarray(part).tobytes() for part in field.parts[5:])
            assert (header.arrays[key].digest, header.arrays[key].length) == (Digest.of(data), len(field.data))
        elif field.types[0] == STRING:
            assert header.metadata[key] == bytes(field.parts[-1]).decode()
        else:
            assert header.metadata[key] == field.parts[-1][0].item()
    assert [(one.name, one.shape, header.data_start + one.offset) for one in header.tensors] == [
        (one.name, tuple(int(n) for n in one.shape), int(one.data_offset)) for one in theirs.tensors
    ]


def test_strings_are_read_from_the_file_when_they_are_wanted(smollm2: Path) -> None:
    found = read(smollm2).arrays["tokenizer.ggml.tokens"]
    with smollm2.open("rb") as file:
        tokens = [token for batch in strings(file, found) for token in batch]
        file.seek(found.start)
        raw = file.read(found.size)
    assert len(tokens) == found.length == 49_152
    assert b"".join(len(token).to_bytes(8, "little") + token for token in tokens) == raw
    assert io.BytesIO(raw).read(8) == len(tokens[0]).to_bytes(8, "little")
