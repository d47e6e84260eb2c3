"""llama-server as a target: started on a free port, asked over HTTP, one connection and one thread a request."""

import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from ...store.closing import Closing
from ..engine_settings import EngineSettings
from ..errors import PeerFailed
from .peers import SERVER, Peers, common_flags
from .target import Arrival, Arrived, Cancel
from .workload import Asked

HOST = "127.0.0.1"
READY_SECONDS = 600.0  # for loading a large model
STOP_SECONDS = 20.0
SILENCE_SECONDS = 600.0  # between two tokens


class LlamaServer(Closing):
    """A llama-server process with the engine's settings, ready to answer; closing it stops it. Raises PeerFailed.

    `streams` is how many requests may be under way: it gives each a thread of its own.
    """

    def __init__(self, peers: Peers, settings: EngineSettings, *, streams: int = 64) -> None:
        self.port = _free_port()
        command = peers.command(SERVER, server_flags(settings, port=self.port, streams=streams))
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise PeerFailed(f"{command[0]}: {error}") from error
        try:
            self._await_ready(command[0])
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the process."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def target(self, name: str = SERVER) -> "ServerTarget":
        """It, to put a load on."""
        return ServerTarget(self.port, name)

    def _await_ready(self, binary: str) -> None:
        over = time.monotonic() + READY_SECONDS
        while not _is_healthy(self.port):
            if self._process.poll() is not None:
                raise PeerFailed(f"{binary} ended with {self._process.returncode} instead of serving")
            if time.monotonic() > over:
                raise PeerFailed(f"{binary} was not ready within {READY_SECONDS:g} s")
            time.sleep(0.05)


class ServerTarget:
    """A llama-server that listens on this machine."""

    def __init__(self, port: int, name: str = SERVER) -> None:
        self.name = name
        self._port = port

    def start(self, asked: Asked, arrived: Arrived) -> Cancel:
        """Begin a request, see Target. Greedy, never ending by itself, and with nothing of an earlier prompt reused."""
        body = {**_BODY, "prompt": asked.prompt, "n_predict": asked.max_tokens}
        call = _Call(self._port, body, arrived)
        threading.Thread(target=call.run, daemon=True).start()
        return call.cancel

    def complete(self, prompt: Sequence[int], *, max_tokens: int, cache: bool = False, **more: Any) -> dict[str, Any]:
        """The whole answer to one prompt, greedy, as llama-server documents it. Raises PeerFailed."""
        body = {"prompt": list(prompt), "n_predict": max_tokens, "temperature": 0, "return_tokens": True, **more}
        connection = _connection(self._port)
        try:
            answer = _post(connection, {**body, "cache_prompt": cache})
            found: dict[str, Any] = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise PeerFailed(f"{self.name}: {error}") from error
        finally:
            connection.close()
        return found


# Of the whole vocabulary its sampler then keeps one candidate at once.
_BODY = {"temperature": 0, "top_k": 1, "ignore_eos": True, "cache_prompt": False, "stream": True}


class _Call:
    """One request on a connection of its own."""

    def __init__(self, port: int, body: dict[str, Any], arrived: Arrived) -> None:
        self._connection = _connection(port)
        self._body, self._arrived = body, arrived
        self._socket: socket.socket | None = None
        self._cancelled = False

    def run(self) -> None:
        seen = 0
        try:
            self._connection.connect()
            self._socket = self._connection.sock
            if self._cancelled:
                raise OSError("taken back before it was sent")
            for event in _events(_post(self._connection, self._body)):
                if event["stop"]:
                    # It sends nothing for a token that ends within a character: these come with the last.
                    self._arrived(Arrival(max(event["tokens_predicted"] - seen, 0), ended=True))
                    return
                seen += 1
                self._arrived(Arrival(1))
            error = "the answer broke off"
        # A connection that is cut while it is read fails in ways of many kinds.
        except (OSError, http.client.HTTPException, ValueError, KeyError, AttributeError) as failed:
            error = f"{type(failed).__name__}: {failed}"
        finally:
            self._connection.close()
        self._arrived(Arrival(ended=True, error="cancelled" if self._cancelled else error))

    def cancel(self) -> None:
        self._cancelled = True
        # Its thread waits for the next token: that wakes it, where closing would not.
        if self._socket:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def server_flags(settings: EngineSettings, *, port: int, streams: int) -> list[object]:
    """How llama-server is started: the same slots of the same size, and a thread for every connection."""
    slots = ("-c", settings.context_size * settings.parallel, "-np", settings.parallel)
    http_flags = ("--host", HOST, "--port", port, "--threads-http", streams + 2, "--no-webui")
    # Neither keeps prompts beside their slots: only what is asked for is measured.
    return [*slots, *http_flags, "--cache-ram", 0, *common_flags(settings)]


def _connection(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(HOST, port, timeout=SILENCE_SECONDS)


def _post(connection: http.client.HTTPConnection, body: dict[str, Any]) -> http.client.HTTPResponse:
    connection.request("POST", "/completion", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    if answer.status != http.client.OK:
        raise OSError(f"HTTP {answer.status}: {answer.read(500).decode(errors='replace')}")
    return answer


def _events(answer: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """Server-sent events of one line of JSON each."""
    while line := answer.readline():
        if line.startswith(b"data: "):
            event = json.loads(line[6:])
            if isinstance(event, dict) and "stop" in event:
                yield event
        elif line.startswith(b"error: "):
            raise OSError(line[7:].decode(errors="replace").strip())


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port
