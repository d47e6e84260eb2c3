"""Ctrl-C at any moment: exit code 130, one line, nothing half-done, nothing left running."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from seaweed import SeaweedFS
from waiting import until

Command = Callable[..., subprocess.CompletedProcess[str]]
SIZE = 400_000_000


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big"
    with path.open("wb") as file:
        for number in range(SIZE // 1_000_000):
            file.write(number.to_bytes(4, "little") * 250_000)
    return path


@contextmanager
def started(home: Path, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "llstore.cli", *map(str, arguments)],
        env={**os.environ, "LLSTORE_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def interrupt(process: subprocess.Popen[str], word: signal.Signals = signal.SIGINT) -> tuple[int, str]:
    os.kill(process.pid, word)
    _, stderr = process.communicate(timeout=30)
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    return process.returncode, stderr


@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_put_leaves_no_object_and_is_taken_up_by_the_next(  # noqa: PLR0913 (fixtures)
    home: Path, bucket: str, seaweed: SeaweedFS, big: Path, llstore: Command, word: signal.Signals
) -> None:
    client, name = seaweed.client(), urlsplit(bucket).netloc

    def uploading() -> list[object]:
        return client.list_multipart_uploads(Bucket=name).get("Uploads", [])

    with started(home, "put", big, "--role", "other", "--store", bucket) as process:
        until(uploading, process=process)
        code, stderr = interrupt(process, word)
    assert (code, stderr) == ((130, "llstore: interrupted\n") if word == signal.SIGINT else (143, ""))
    keys = [found["Key"] for found in client.list_objects_v2(Bucket=name).get("Contents", [])]
    assert not [key for key in keys if key.startswith(("blobs/", "manifests/", "blocks/"))]
    assert len(uploading()) == 1
    assert llstore("put", big, "--role", "other", "--store", bucket).returncode == 0
    assert not uploading()


def test_an_interrupted_put_into_the_embedded_store_leaves_no_part(home: Path, big: Path) -> None:
    store = home / "data/store"
    with started(home, "put", big, "--role", "other") as process:
        until(lambda: list(store.rglob("*.part")), process=process)
        assert interrupt(process)[0] == 130
    assert not list(store.rglob("*.part"))
    assert not [path for path in (store / "blobs").rglob("*") if path.is_file()]


def test_an_interrupted_get_shows_nothing_and_is_taken_up_by_the_next(
    home: Path, bucket: str, big: Path, llstore: Command
) -> None:
    digest = llstore("put", big, "--role", "other", "--store", bucket).stdout.strip()
    cache = home / "cache"
    with started(home, "get", digest, "--store", bucket) as process:
        until(lambda: [path for path in cache.rglob("*.part") if holds_data(path)], process=process)
        assert interrupt(process) == (130, "llstore: interrupted\n")
    assert not [path for path in (cache / "blobs").rglob("*") if path.is_file()]
    answer = json.loads(llstore("get", digest, "--store", bucket, "--json").stdout)
    assert answer["fetched_bytes"] < SIZE


def test_an_interrupted_sync_stops_all_it_fetches_and_is_taken_up_by_the_next(
    home: Path, tmp_path: Path, llstore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store").mkdir()
    url = (tmp_path / "store").as_uri()
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(os.urandom(9_000_000))
        llstore("put", tmp_path / name, "--role", "other", "--name", f"t/{name}", "--store", url)
    (tmp_path / "llstore.toml").write_text(f'store = "{url}"\n[models]\none = "t/one"\ntwo = "t/two"\n')
    assert llstore("lock").returncode == 0
    monkeypatch.chdir(tmp_path)
    # The first block alone takes it four seconds more: that none is there then shows that it stopped.
    monkeypatch.setenv("LLSTORE_TRANSFER_MAX_RATE", "2MB")
    cache = home / "cache"
    with started(home, "sync", "--frozen") as process:
        until(lambda: len(list(cache.rglob("*.part"))) == 2, process=process)
        assert interrupt(process) == (130, "llstore: interrupted\n")
    assert not [path for path in (cache / "blobs").rglob("*") if path.is_file()]
    again = json.loads(llstore("sync", "--frozen", "--json", LLSTORE_TRANSFER_MAX_RATE="1GB").stdout)
    assert [Path(model["path"]).stat().st_size for model in again["models"]] == [9_000_000] * 2
    assert not list(cache.rglob("*.part"))


def holds_data(path: Path) -> bool:
    """Whether the first block of a part file has landed: its space is reserved, but empty, from the beginning."""
    try:
        with path.open("rb") as file:
            file.seek(8_000_000)
            return any(file.read(8))
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("milliseconds", [40, 60, 70, 80, 100, 120, 150, 200])
def test_an_interrupt_while_starting_shows_no_traceback(home: Path, milliseconds: int) -> None:
    with started(home, "list", "--quiet") as process:
        time.sleep(milliseconds / 1000)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    if stderr in ("", "llstore: interrupted\n"):
        assert process.returncode in (0, 130, -signal.SIGINT)
    else:
        # Before Python has come to `main`, the signal ends it as it ends any Python program.
        assert not re.search(r"llstore/cli/\S+ line \d+, in \w", stderr)
        assert process.returncode in (1, -signal.SIGINT)


def test_an_interrupted_run_stops_at_once(home: Path, smollm2: Path, llstore: Command) -> None:
    llstore("put", smollm2, "--name", "t/t")
    prompt = ("-p", "Count from one to ten thousand.", "--max-tokens", "4000", "--temperature", "0")
    with started(home, "run", "t/t", *prompt) as process:
        assert process.stdout
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        rest, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, "llstore: interrupted\n")
    assert len(rest) < 2000, "the whole answer has 10,000 characters and more"
