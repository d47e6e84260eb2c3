"""Servers of `POST /v1/completions` that are measured beside ours: how each is started, asked and ended.

All get the same file, threads, batch sizes, slots and context per slot, flash attention, f16 KV, and no prompt cache;
`llstore serve` and llama-server the same layers on GPUs too.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llstore.runner.bench.llama_server import server_flags
from llstore.runner.bench.peers import SERVER, Peers
from llstore.runner.engine_settings import EngineSettings

HOST = "127.0.0.1"
READY_SECONDS, STOP_SECONDS = 120.0, 20.0
SAID = 1000  # characters of a failed server's last words
OURS, LLAMA_SERVER, PACKAGED, EXAMPLE = "llstore", "llama-server", "llama_cpp.server", "example"


@dataclass(frozen=True)
class Place:
    """Where a server is to listen, and a folder of its own."""

    port: int
    folder: Path


@dataclass(frozen=True)
class Server:
    """A contestant: its `command` line, the path that answers 200 when it is `ready`, and what it needs in a request's
    `body` to be greedy and to end at its length only. A `serial` one answers one request after another.
    """

    name: str
    command: Callable[[EngineSettings, Place], list[str]]
    ready: str
    body: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)
    serial: bool = False


def ours(digest: str, home: Path) -> Server:
    """`llstore serve`, of a model in the store of that LLSTORE_HOME."""

    def command(settings: EngineSettings, place: Place) -> list[str]:
        slots = ("--parallel", settings.parallel, "--ctx", settings.context_size)
        layers = ("--gpu-layers", settings.gpu_layers)
        engine = ("--threads", settings.threads, "--batch-size", settings.batch_size, *layers)
        attention = ("--flash-attn", "on" if settings.flash_attention else "off")
        words = ("serve", digest, "--port", place.port, *slots, *engine, *attention)
        return [sys.executable, "-m", "llstore.cli", *map(str, words)]

    body = {"model": digest, "ignore_eos": True, "cache_prompt": False}
    return Server(OURS, command, "/ready", body, environment={"LLSTORE_HOME": str(home)})


def stored(file: Path, home: Path) -> str:
    """The digest of a file, which is put into the store of that LLSTORE_HOME."""
    command = [sys.executable, "-m", "llstore.cli", "put", str(file), "--json"]
    environment = {**os.environ, "LLSTORE_HOME": str(home)}
    put = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    digest: str = json.loads(put.stdout)["digest"]
    return digest


def key(tenant: str, home: Path) -> str:
    """A new key of a tenant of ours."""
    command = [sys.executable, "-m", "llstore.cli", "key", "create", tenant]
    environment = {**os.environ, "LLSTORE_HOME": str(home)}
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def llama_server(peers: Path, file: Path) -> Server:
    """llama.cpp's own, with a thread for each connection that may be under way."""

    def command(settings: EngineSettings, place: Place) -> list[str]:
        streams = max(settings.parallel, 64)
        return Peers(peers, file).command(SERVER, server_flags(settings, port=place.port, streams=streams))

    return Server(LLAMA_SERVER, command, "/health", {"ignore_eos": True, "top_k": 1, "cache_prompt": False})


def packaged(python: Path, file: Path, ends: Mapping[str, float]) -> Server:
    """llama-cpp-python's `llama_cpp.server`: it has one context, under a lock, and so no slots."""

    def command(settings: EngineSettings, place: Place) -> list[str]:
        flags = {
            "model": file,
            "host": HOST,
            "port": place.port,
            "n_ctx": settings.context_size,
            "n_batch": settings.batch_size,
            "n_ubatch": settings.batch_size,
            "n_threads": settings.threads,
            "n_threads_batch": settings.threads,
            "flash_attn": settings.flash_attention,
            "logits_all": False,
            "verbose": False,
            "interrupt_requests": False,  # or a request ends the one before
        }
        return [str(python), "-m", "llama_cpp.server", *(str(w) for k, v in flags.items() for w in (f"--{k}", v))]

    return Server(PACKAGED, command, "/v1/models", {"logit_bias": ends}, serial=True)


def example(python: Path, script: Path, file: Path, ends: Mapping[str, float]) -> Server:
    """The batching server among the examples of llama-cpp-python's source archive."""

    def command(settings: EngineSettings, place: Place) -> list[str]:
        model = {
            "path": str(file),
            "alias": "model",
            "n_ctx": settings.context_size * settings.parallel,
            "n_seq_max": settings.parallel,
            "n_batch": settings.batch_size,
            "n_ubatch": settings.batch_size,
            "threads": settings.threads,
            "threads_batch": settings.threads,
            "flash_attn": settings.flash_attention,
            "kv_unified": settings.unified,
            "store_logits": False,
        }
        config = place.folder / "config.json"
        config.write_text(json.dumps({"server": {"host": HOST, "port": place.port}, "model": model}))
        return [str(python), str(script), "-C", str(config)]

    return Server(EXAMPLE, command, "/healthz", {"logit_bias": ends})


@dataclass(frozen=True)
class Running:
    """A server that answers: its port, and the process that it began as."""

    port: int
    pid: int

    def peaks(self) -> dict[str, int]:
        """Peak resident bytes of it and of its descendants that live, by number and name."""
        statuses = dict(_statuses())
        family = {self.pid}
        while more := {pid for pid, status in statuses.items() if int(status["PPid"]) in family} - family:
            family |= more
        return {
            f"{pid} {statuses[pid]['Name']}": 1024 * int(statuses[pid].get("VmHWM", "0 kB").split()[0])
            for pid in sorted(family & statuses.keys())
        }


def _statuses() -> Iterator[tuple[int, dict[str, str]]]:
    for file in Path("/proc").glob("[0-9]*/status"):
        # A process may end at any time.
        with suppress(OSError):
            pairs = (line.partition(":") for line in file.read_text().splitlines())
            yield int(file.parent.name), {name: value.strip() for name, _, value in pairs}


@contextmanager
def running(server: Server, settings: EngineSettings) -> Iterator[Running]:
    """It at work, ended afterwards with all that it began. Raises RuntimeError where it does not become ready."""
    with tempfile.TemporaryDirectory() as name, socket.socket() as probe:
        probe.bind((HOST, 0))
        place = Place(probe.getsockname()[1], Path(name))
        probe.close()
        with (place.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                server.command(settings, place),
                env={**os.environ, **server.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            _await(server, process, place)
            yield Running(place.port, process.pid)
        finally:
            _end(process)


def _await(server: Server, process: "subprocess.Popen[bytes]", place: Place) -> None:
    over = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < over:
        if _is_ready(place.port, server.ready):
            return
        time.sleep(0.05)
    ended = "" if process.returncode is None else f", and ended with {process.returncode}"
    said = (place.folder / "log").read_text(errors="replace")[-SAID:].strip()
    raise RuntimeError(f"{server.name} did not become ready{ended}: {said}")


def _is_ready(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    # Whoever of its session still lives.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
