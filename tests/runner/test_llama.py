"""The door to llama.cpp: what would abort the process is an error here."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sound import Sound

from llstore.runner import DecodeFailed, InvalidEngine, LoadFailed, PromptEmpty, PromptTooLong, RunnerError, Sampling
from llstore.runner.engine_settings import EngineSettings
from llstore.runner.llama import LlamaModel
from llstore.runner.llama.batch import Chunk
from llstore.runner.llama.build import Device, build, cpu_features
from llstore.runner.llama.context import LlamaContext
from llstore.runner.llama.log import ErrorLines
from llstore.runner.llama.sampler import Sampler


@pytest.fixture(scope="module")
def model(smollm2: Path) -> Iterator[LlamaModel]:
    with LlamaModel(smollm2) as model:
        yield model


def open_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def test_importing_the_runner_loads_nothing_heavy() -> None:
    code = "import sys, llstore.runner; print({'llama_cpp', 'jinja2', 'numpy'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_a_model_tells_about_itself(model: LlamaModel) -> None:
    assert model.context_length == 8192
    assert (model.bos, model.eos, model.add_bos) == ("<|im_start|>", "<|im_end|>", False)
    assert "<|im_start|>" in (model.chat_template or "")
    assert model.vocabulary_size == 49152


def test_a_model_without_a_template_says_so(gemma: Path) -> None:
    with LlamaModel(gemma) as model:
        assert (model.bos, model.add_bos, model.chat_template) == ("<bos>", True, None)


def test_text_comes_back_from_its_tokens(model: LlamaModel) -> None:
    text = "Ünïcode 学校 🎓\n\tdef f(x): return x"
    tokens = model.tokenize(text, add_special=True, parse_special=False)
    assert b"".join(map(model.piece, tokens)).decode() == text


def test_a_special_token_is_one_token_only_when_asked_for(model: LlamaModel) -> None:
    marked = model.tokenize("<|im_end|>", add_special=False, parse_special=True)
    plain = model.tokenize("<|im_end|>", add_special=False, parse_special=False)
    assert len(marked) == 1
    assert len(plain) > 1
    assert model.is_end(marked[0])
    assert model.piece(marked[0]) == b""
    assert b"".join(map(model.piece, plain)) == b"<|im_end|>"


def test_the_number_of_threads_changes_between_steps_and_never_to_one_that_aborts(model: LlamaModel) -> None:
    with LlamaContext(model, EngineSettings(256, threads=2)) as context:
        assert context.threads == 2
        context.threads = 1
        assert context.threads == 1
        for count in (0, 513):
            with pytest.raises(InvalidEngine, match="from 1 to 512"):
                context.threads = count
        context.prefill(0, [1, 2, 3], logits=True)


def test_text_that_is_not_unicode_can_be_tokenized(model: LlamaModel) -> None:
    assert model.tokenize("a\udc80b\0c", add_special=False, parse_special=False)


def test_a_text_may_have_more_tokens_than_bytes(tmp_path: Path) -> None:
    # This vocabulary has a token for each byte and none for a space, which it writes as three.
    (tmp_path / "sound.gguf").write_bytes(Sound().encode())
    with LlamaModel(tmp_path / "sound.gguf") as model:
        assert len(model.tokenize(" " * 100, add_special=False, parse_special=False)) > 200


def test_a_descriptor_is_read_from_its_start_and_stays_open(smollm2: Path) -> None:
    fd = os.open(smollm2, os.O_RDONLY)
    os.lseek(fd, 1000, os.SEEK_SET)
    with LlamaModel(fd) as model:
        assert model.vocabulary_size == 49152
    assert os.fstat(fd).st_size > 0
    os.close(fd)


def test_a_load_leaves_no_descriptor_open(smollm2: Path, tmp_path: Path) -> None:
    before = open_descriptors()
    LlamaModel(smollm2).close()
    with pytest.raises(LoadFailed):
        LlamaModel(tmp_path)
    assert open_descriptors() == before


def test_a_file_that_is_not_a_model_says_what_llama_cpp_said(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"hello" * 1000)
    with pytest.raises(LoadFailed, match=r"llama\.cpp cannot load .*model\.gguf: .*magic"):
        LlamaModel(file)


def test_a_missing_file_a_folder_and_a_pipe_are_load_errors(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "missing", tmp_path, tmp_path / "pipe"):
        with pytest.raises(LoadFailed):
            LlamaModel(path)


def test_nothing_can_be_asked_of_a_closed_model(smollm2: Path) -> None:
    model = LlamaModel(smollm2)
    context = LlamaContext(model, EngineSettings(256))
    model.close()
    model.close()
    for ask in (
        lambda: model.tokenize("a", add_special=True, parse_special=True),
        lambda: model.piece(1),
        lambda: model.is_end(1),
        lambda: model.context_length,
        lambda: model.chat_template,
        lambda: LlamaContext(model, EngineSettings(256)),
        lambda: context.decode([1]),
        context.logits,
    ):
        with pytest.raises(RunnerError):
            ask()


@pytest.mark.parametrize("token", [-1, 49152, 2**31 - 1])
def test_a_token_outside_the_vocabulary_is_an_error(model: LlamaModel, token: int) -> None:
    with pytest.raises(RunnerError, match="49152"):
        model.piece(token)
    with LlamaContext(model, EngineSettings(256)) as context, pytest.raises(RunnerError, match="49152"):
        context.decode([1, token])


def test_a_context_holds_no_more_than_it_was_made_for(model: LlamaModel) -> None:
    with LlamaContext(model, EngineSettings(256)) as context:
        context.decode([1] * 250)
        with pytest.raises(PromptTooLong):
            context.decode([1] * 7)
        context.decode([1] * 6)
        assert context.lengths == [256]


def test_a_context_decodes_no_empty_list(model: LlamaModel) -> None:
    with LlamaContext(model, EngineSettings(256)) as context, pytest.raises(PromptEmpty):
        context.decode([])


@pytest.mark.parametrize("n_ctx", [0, -1])
def test_a_context_of_no_tokens_is_an_error(model: LlamaModel, n_ctx: int) -> None:
    with pytest.raises(InvalidEngine, match="context_size"):
        LlamaContext(model, EngineSettings(n_ctx))


def test_nothing_is_sampled_before_something_is_decoded(model: LlamaModel) -> None:
    for temperature in (0.0, 1.0):
        sampling = Sampling(temperature=temperature)
        with (
            LlamaContext(model, EngineSettings(256)) as context,
            Sampler(model, sampling, 1) as sampler,
            pytest.raises(DecodeFailed),
        ):
            sampler.sample(context)


def test_chunks_give_the_logits_of_one_decode(model: LlamaModel) -> None:
    tokens = model.tokenize("The sea was calm and the ship was", add_special=True, parse_special=False)
    with LlamaContext(model, EngineSettings(256)) as whole, LlamaContext(model, EngineSettings(256)) as parts:
        whole.decode(tokens)
        for token in tokens:
            parts.decode([token])
        assert whole.logits().shape == (1, model.vocabulary_size)
        assert whole.logits().argmax() == parts.logits().argmax()
        np.testing.assert_allclose(whole.logits(), parts.logits(), atol=0.5)


def test_prompts_that_are_read_together_have_the_logits_that_they_have_alone(model: LlamaModel) -> None:
    lines = ("The sea was calm and the ship was", "One, two,", "Rain")
    texts = [model.tokenize(line, add_special=True, parse_special=False) for line in lines]
    wanted = (True, False, True)
    settings = EngineSettings(256, parallel=3)
    with LlamaContext(model, settings) as together, LlamaContext(model, settings) as alone:
        together.prefill_together([Chunk(n, text, wanted[n]) for n, text in enumerate(texts)])
        rows = together.logits().copy()
        assert together.lengths == [len(text) for text in texts]
        for row, slot in enumerate(n for n in range(3) if wanted[n]):
            alone.prefill(slot, texts[slot], logits=True)
            assert rows[row].argmax() == alone.logits()[0].argmax()
            np.testing.assert_allclose(rows[row], alone.logits()[0], atol=0.5)
        for chunks in ([], [Chunk(0, [1], True), Chunk(0, [1], True)], [Chunk(0, [], True)], [Chunk(9, [1], True)]):
            with pytest.raises((DecodeFailed, PromptEmpty)):
                together.prefill_together(chunks)


def test_nan_logits_are_an_error_not_a_token(model: LlamaModel) -> None:
    for temperature in (0.0, 1.0):
        with (
            LlamaContext(model, EngineSettings(256)) as context,
            Sampler(model, Sampling(temperature=temperature), 1) as sampler,
        ):
            context.decode([1])
            context.logits()[0, 7] = np.nan
            with pytest.raises(DecodeFailed, match="NaN"):
                sampler.sample(context)


def test_a_closed_sampler_samples_nothing(model: LlamaModel) -> None:
    sampler = Sampler(model, Sampling(temperature=1.0), 1)
    sampler.close()
    with LlamaContext(model, EngineSettings(256)) as context:
        context.decode([1])
        with pytest.raises(DecodeFailed):
            sampler.sample(context)


def test_llama_cpp_writes_nothing_to_the_terminal(smollm2: Path) -> None:
    code = "import sys; from pathlib import Path; from llstore.runner import llama; llama.LlamaModel(Path(sys.argv[1]))"
    ran = subprocess.run([sys.executable, "-c", code, str(smollm2)], capture_output=True, check=True)
    assert ran.stdout + ran.stderr == b""


def test_the_log_keeps_errors_and_joins_continued_lines() -> None:
    lines = ErrorLines()
    assert lines.summary() == "it gave no reason"
    for level, text in (
        (2, b"load: fine\n"),
        (5, b"more\n"),
        (4, b"load: bad "),
        (5, b"magic\n"),
        (4, b"f: failed to load model"),
    ):
        lines.write(level, text)
    assert lines.summary() == "bad magic"


def test_the_build_is_read_from_the_library() -> None:
    made = build()
    assert made.version == "0.3.36"
    assert made.system_info
    assert all(feature in made.system_info for feature in made.cpu_features)
    assert all(device.memory_total >= device.memory_free >= 0 for device in made.devices)


# A backend as ggml's registry takes it: its version, then get_name, get_device_count, get_device, get_proc_address.
WITHOUT_DEVICE = """
import ctypes
from llstore.runner.llama.build import build
from llstore.runner.llama.library import ll

named = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p)(lambda reg: b"Stand-in")
counted = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p)(lambda reg: 0)

class Reg(ctypes.Structure):
    _fields_ = [("version", ctypes.c_int), ("name", type(named)), ("count", type(counted)),
                ("device", ctypes.c_void_p), ("address", ctypes.c_void_p), ("context", ctypes.c_void_p)]

before, backend = build(), Reg(2, named, counted)
ll._lib.ggml_backend_register(ctypes.byref(backend))
after = build()
print("CPU" in before.backends, after.backends == (*before.backends, "Stand-in"), after.devices == before.devices)
"""


def test_a_backend_is_named_also_where_it_finds_no_device() -> None:
    ran = subprocess.run([sys.executable, "-c", WITHOUT_DEVICE], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "True True True\n"), ran.stderr


def test_a_gpu_is_shown_with_its_memory() -> None:
    assert str(Device("CUDA0", "NVIDIA L4", 22 * 10**9, 24 * 10**9)) == "CUDA0: NVIDIA L4, 22.0 GB free of 24.0 GB"
    assert str(Device("Vulkan0", "AMD 780M", 10**9, 8 * 10**9, integrated=True)).endswith(" of 8.0 GB, integrated")


def test_only_the_cpus_features_are_the_cpus() -> None:
    info = "CUDA : ARCHS = 900 | USE_GRAPHS = 1 | CPU : AVX2 = 1 | AVX512 = 0 | FMA = 1"
    assert cpu_features(info) == ("AVX2", "FMA")


def test_a_closed_context_does_nothing_more(model: LlamaModel) -> None:
    context = LlamaContext(model, EngineSettings(256, parallel=2))
    context.decode([1, 2, 3])
    state = context.save(0)
    context.close()
    for ask in (
        lambda: context.trim(0, 1),
        lambda: context.step([0], [1]),
        lambda: context.save(0),
        lambda: context.restore(1, state, 3),
        lambda: context.copy(0, 1),
        lambda: context.whole(0),
    ):
        with pytest.raises(DecodeFailed):
            ask()
