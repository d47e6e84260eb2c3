"""The README's commands are run as they stand."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from llstore.cli.main import app
from llstore.store.exchange.hf import HubRef, choose
from llstore.store.exchange.hub import HubFile
from llstore.store.layers import Layer
from llstore.store.memory_need import ContextShape, MemoryNeed

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_readme_opens_with_the_two_commands() -> None:
    assert blocks("sh")[0].split("\n")[:2] == [line for line in blocks("sh")[0].split("\n") if line.startswith("make ")]
    assert re.findall(r"^make (\w+)", blocks("sh")[0], flags=re.MULTILINE) == ["demo", "test"]


def test_the_tour_prints_what_it_says(smollm2: Path, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf").symlink_to(smollm2)
    environment = {
        **os.environ,
        "LLSTORE_HOME": str(tmp_path / "home"),
        "LLSTORE_STORE": bucket,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    tour = next(block for block in blocks("console") if "llstore put" in block)
    for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", tour, flags=re.MULTILINE):
        ran = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, (command, ran.stderr)
        for line in expected.splitlines():
            assert line in ran.stdout, (command, ran.stdout)


@pytest.mark.parametrize("line", re.findall(r"llstore [a-z]+[^`\n]*", "\n".join(blocks("sh") + blocks("console"))))
def test_every_flag_in_the_readme_exists(line: str) -> None:
    words = shlex.split(line, comments=True)
    command = get_command(app).commands[words[1]]
    known = {flag for parameter in command.params for flag in parameter.opts}
    assert {word for word in words[2:] if word.startswith("--")} <= known


# As published: bytes of the files, layers, heads, heads of the KV, numbers in a head, embedding, feed-forward, words.
SHAPES = {
    "bartowski/SmolLM2-135M-Instruct-GGUF": (105_454_432, 30, 9, 3, 64, 576, 1536, 49_152),
    "Qwen/Qwen2.5-0.5B-Instruct-GGUF": (491_400_032, 24, 14, 2, 64, 896, 4864, 151_936),
    "Qwen/Qwen2.5-1.5B-Instruct-GGUF": (1_117_320_736, 28, 12, 2, 128, 1536, 8960, 151_936),
    "Qwen/Qwen3-4B-GGUF": (2_497_280_256, 36, 32, 8, 128, 2560, 9728, 151_936),
    "Qwen/Qwen2.5-7B-Instruct-GGUF": (4_683_073_632, 28, 28, 4, 128, 3584, 18_944, 152_064),
    "Qwen/Qwen2.5-14B-Instruct-GGUF": (8_988_000_000, 48, 40, 8, 128, 5120, 13_824, 152_064),
}
SUGGESTED = re.findall(r"^\| ([\d.]+) GB \| ([\d.]+) GB \| .* \| `(hf://[^`]+)` \|$", README, flags=re.MULTILINE)


def test_six_models_are_suggested_from_small_to_large() -> None:
    assert [HubRef.parse(source).repo for _, _, source in SUGGESTED] == list(SHAPES)
    sizes = [float(memory) for memory, _, _ in SUGGESTED]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize(("memory", "kv", "source"), SUGGESTED)
def test_a_suggested_model_takes_the_memory_that_is_stated(memory: str, kv: str, source: str) -> None:
    weights, layers, heads, kv_heads, head, embedding, feed_forward, vocabulary = SHAPES[HubRef.parse(source).repo]
    need = MemoryNeed(
        embeddings=weights,
        layers=(Layer(0, kv_heads * head, kv_heads * head),) * layers,
        output=0,
        tied=0,
        heads=heads,
        head_sizes=(head, head),
        vocabulary=vocabulary,
        embedding=embedding,
        queries=heads * head,
        feed_forward=feed_forward,
        masks=1,
    )
    shape = ContextShape(4096, flash_attention=True)
    assert f"{need.total(shape) / 1e9:.1f}" == memory
    assert f"{need.kv(shape) / 1e9:.2f}" == kv


def test_the_address_of_a_shard_brings_the_whole_model() -> None:
    for _, _, source in SUGGESTED:
        place = HubRef.parse(source)
        count = int(found[1]) if (found := re.search(r"-of-(\d{5})", source)) else 1
        paths = [place.path.replace("-00001-of-", f"-{n:05}-of-") for n in range(1, count + 1)]
        files = [HubFile(path, 1, None) for path in [*paths, "another-q8_0.gguf"]]
        assert [file.path for file in choose(files, place)] == paths


def test_every_page_that_is_linked_is_there() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md")]
    for page in pages:
        for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), (page.name, link)
