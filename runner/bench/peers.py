"""llama.cpp's own benchmarks, run with the same settings as our engine."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..engine_settings import EngineSettings
from ..errors import PeerFailed
from .speed import BatchedSpeed, BatchedTest, Speed

BENCH, BATCHED_BENCH, SERVER = "llama-bench", "llama-batched-bench", "llama-server"
SECONDS = 1800.0  # longer than any of these runs should take
SAID = 2000  # characters of a failed program's last words


@dataclass(frozen=True, slots=True)
class Peers:
    """The binaries of a llama.cpp in a folder, over a model's file; of a split model see `named_shards`.

    Raises PeerFailed when a binary is missing, does not end well, or prints something else than expected.
    """

    folder: Path
    model: Path

    def has(self, name: str) -> bool:
        """Whether the folder has that binary."""
        return (self.folder / name).is_file()

    def check(self) -> None:
        """Raises PeerFailed when one is missing."""
        for name in (BENCH, BATCHED_BENCH, SERVER):
            self.command(name, ())

    def bench(self, settings: EngineSettings, *, prompt: int, generated: int, repeats: int) -> tuple[Speed, ...]:
        """`pp` and `tg` by llama-bench."""
        words = ("-p", prompt, "-n", generated, "-r", repeats, "-o", "json", "-fa", int(settings.flash_attention))
        repack = ("--repack", int(settings.repack))
        return bench_speeds(self._run(BENCH, [*words, *repack, *shared_flags(settings)]))

    def batched(self, settings: EngineSettings, test: BatchedTest) -> BatchedSpeed:
        """One test by llama-batched-bench."""
        words = ("-npp", test.prompt, "-ntg", test.generated, "-npl", test.parallel, "--output-format", "jsonl")
        context = ("-c", settings.context_size * test.parallel)
        (found,) = batched_speeds(self._run(BATCHED_BENCH, [*words, *context, *common_flags(settings)]))
        return found

    def command(self, name: str, words: Sequence[object]) -> list[str]:
        """How the binary is started."""
        binary = self.folder / name
        if not self.has(name):
            raise PeerFailed(f"{binary} does not exist", hint="--peers names the folder of llama.cpp's binaries")
        return [str(binary), "-m", str(self.model), *map(str, words)]

    def _run(self, name: str, words: Sequence[object]) -> str:
        command = self.command(name, words)
        try:
            ran = subprocess.run(command, capture_output=True, timeout=SECONDS, stdin=subprocess.DEVNULL, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PeerFailed(f"{command[0]}: {error}") from error
        if ran.returncode:
            said = ran.stderr.decode(errors="replace")[-SAID:].strip()
            raise PeerFailed(f"{command[0]} ended with {ran.returncode}: {said}")
        return ran.stdout.decode(errors="replace")


@contextmanager
def named_shards(files: Sequence[Path]) -> Iterator[Path]:
    """The file that llama.cpp's programs are given: shards get names by which they find the rest."""
    if len(files) == 1:
        yield files[0]
        return
    with TemporaryDirectory() as folder:
        names = [Path(folder) / f"model-{n:05}-of-{len(files):05}.gguf" for n in range(1, len(files) + 1)]
        for name, file in zip(names, files, strict=True):
            name.symlink_to(file.absolute())
        yield names[0]


def shared_flags(settings: EngineSettings) -> list[object]:
    """Flags that all three programs know by the same names."""
    batch = ("-b", settings.batch_size, "-ub", settings.batch_size)
    types = ("-ctk", settings.key_type, "-ctv", settings.value_type)
    return [*batch, *types, "-t", settings.threads, "-ngl", settings.gpu_layers, "-sm", settings.split]


def common_flags(settings: EngineSettings) -> list[object]:
    """Those of llama-batched-bench and llama-server."""
    layout = "--kv-unified" if settings.unified else "--no-kv-unified"
    attention = ("-fa", "on" if settings.flash_attention else "off")
    window = ("--swa-full",) if settings.swa_full else ()
    repack = () if settings.repack else ("--no-repack",)
    # What is asked for is what is measured: nothing is adjusted to the machine.
    return [*shared_flags(settings), *attention, layout, *window, *repack, "-fit", "off"]


def bench_speeds(printed: str) -> tuple[Speed, ...]:
    """What `llama-bench -o json` prints; raises PeerFailed."""
    with _figures(BENCH, printed):
        return tuple(_bench_speed(test) for test in _some(json.loads(printed)))


def _bench_speed(test: dict[str, Any]) -> Speed:
    name = f"pp{test['n_prompt']}" if test["n_prompt"] else f"tg{test['n_gen']}"
    return Speed(name, tuple(map(float, test["samples_ts"])))


def batched_speeds(printed: str) -> tuple[BatchedSpeed, ...]:
    """What `llama-batched-bench --output-format jsonl` prints; raises PeerFailed."""
    with _figures(BATCHED_BENCH, printed):
        lines = _some([line for line in printed.splitlines() if line.startswith("{")])
        return tuple(_batched_speed(json.loads(line)) for line in lines)


def _batched_speed(line: dict[str, Any]) -> BatchedSpeed:
    test = BatchedTest(prompt=int(line["pp"]), generated=int(line["tg"]), parallel=int(line["pl"]))
    return BatchedSpeed(test, float(line["t_pp"]), float(line["t_tg"]), float(line["t"]))


def _some(found: Any) -> list[Any]:
    if not isinstance(found, list) or not found:
        raise ValueError("no figures")
    return found


@contextmanager
def _figures(name: str, printed: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        said = printed[-SAID:].strip() or "nothing"
        raise PeerFailed(f"{name} printed something else than its figures: {said}") from error
