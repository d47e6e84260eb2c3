"""A put of what the store has already, beside one hashlib pass; and peak memory of a put and a get of 8 GB.

Usage: python benchmarks/stored.py   (ROUNDS=5)
"""

import hashlib
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "fixtures"))

from measure import ROUNDS, Run, machine, spread, timed
from seaweed import SeaweedFS, seaweedfs

BIN = Path(sys.executable).parent
STORED, LARGE = 4_000_000_000, 8_000_000_000
HASH = "import hashlib, sys; print(hashlib.file_digest(open(sys.argv[1], 'rb'), 'sha256').hexdigest())"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, seaweedfs(Path(folder) / "seaweed") as server:
        server.client().create_bucket(Bucket="bench")
        source = Path(folder) / "source"
        repeated(source, STORED)
        llstore(server, folder, "put", source, "--role", "other")
        again, hashed = [], []
        for _ in range(ROUNDS):
            again.append(llstore(server, folder, "put", source, "--role", "other").seconds)
            hashed.append(timed([sys.executable, "-c", HASH, source]).seconds)
        print(f"{ROUNDS} alternating rounds, {machine()}")
        print(f"put of {STORED / 1e9:g} GB that is stored: {spread(again, unit='s')}")
        print(f"one hashlib pass: {spread(hashed, unit='s')}")
        over = [ours - 1.15 * theirs for ours, theirs in zip(again, hashed, strict=True)]
        print(f"put less 1.15 hashlib passes: {spread(over, unit='s')} (0.7 s is the aim)")
        source.unlink()
        with source.open("wb") as file:
            file.truncate(LARGE)
        put = llstore(server, folder, "put", source, "--role", "other")
        digest = hashlib.file_digest(source.open("rb"), "sha256").hexdigest()
        got = llstore(server, folder, "get", digest)
        print(f"{LARGE / 1e9:g} GB: peak memory put {put.peak / 1e6:.0f} MB, get {got.peak / 1e6:.0f} MB")


def llstore(server: SeaweedFS, folder: str, *words: str | Path) -> Run:
    """One llstore process."""
    command = [BIN / "llstore", *words, "--quiet"]
    return timed(command, **server.environment, LLSTORE_STORE=server.url("bench"), LLSTORE_HOME=f"{folder}/home")


def repeated(path: Path, size: int) -> None:
    """Random bytes, the same 100 MB again and again, each time with another beginning."""
    block = os.urandom(100_000_000)
    with path.open("wb") as file:
        for number in range(size // len(block)):
            file.write(number.to_bytes(8, "little") + block[8:])


if __name__ == "__main__":
    main()
