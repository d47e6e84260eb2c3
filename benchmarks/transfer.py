"""Puts and gets against SeaweedFS beside s5cmd and rclone: alternating rounds, peak memory of each.

Usage: python benchmarks/transfer.py   (ROUNDS=5 SIZE=1000000000)
llstore hashes the file before a put; on a get it hashes, checks every block and fsyncs. s5cmd and rclone, with the
settings they come with, do not verify what they fetched against a digest, and do not fsync.
"""

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "fixtures"))

import s5cmd
from measure import ROUNDS, Run, machine, ratio, spread, timed
from memory import PageCache
from seaweed import SeaweedFS, seaweedfs

SIZE = int(os.environ.get("SIZE", "1000000000"))
BIN = Path(sys.executable).parent
S5CMD = Path(s5cmd.__file__).parent / "bin/s5cmd"  # itself: the script that pip installs starts Python first
BLOCK = 1_000_000


@dataclass
class Bench:
    """One server, one source file, and the runs so far, by name."""

    server: SeaweedFS
    source: Path
    pages: PageCache
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def round(self, number: int) -> None:
        """Every tool puts the same new bytes, then every tool gets them onto the same disk; each begins in its turn."""
        with self.source.open("r+b") as file:
            file.write(os.urandom(64))
        for tasks in (self.puts(number), self.gets(number)):
            names = list(tasks)
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                self.pages.fill()
                self.runs.setdefault(name, []).append(tasks[name]())

    def puts(self, number: int) -> dict[str, Callable[[], Run]]:
        """What is put, by whom."""
        return {
            "llstore put": lambda: self.llstore(self.server.url("bench"), "put", self.source, "--role", "other"),
            "s5cmd put": lambda: self.s5cmd("cp", self.source, f"s3://bench/s5cmd-{number}"),
            "rclone put": lambda: self.rclone("copyto", self.source, f"bench/rclone-{number}"),
        }

    def gets(self, number: int) -> dict[str, Callable[[], Run]]:
        """What is fetched, by whom."""
        digest = digest_of(self.source)
        back = self.source.with_name("back")
        return {
            "llstore get s3": lambda: self.llstore(self.server.url("bench"), "get", digest),
            "s5cmd get": lambda: self.gone(back, self.s5cmd("cp", f"s3://bench/s5cmd-{number}", back)),
            "llstore get seaweedfs": lambda: self.llstore(self.server.filer_url("bench"), "get", digest),
            "llstore get seaweedfs with master": lambda: self.llstore(self.server.chunks_url("bench"), "get", digest),
            "rclone get": lambda: self.gone(back, self.rclone("copyto", f"bench/rclone-{number}", back)),
        }

    def llstore(self, store: str, *words: str | Path) -> Run:
        """One llstore process on a machine that has nothing yet."""
        home = tempfile.mkdtemp(prefix="home-", dir=self.source.parent)
        environment = {**self.server.environment, "LLSTORE_STORE": store, "LLSTORE_HOME": home}
        run = timed([BIN / "llstore", *words, "--quiet"], **environment)
        shutil.rmtree(home)
        return run

    def s5cmd(self, *words: str | Path) -> Run:
        """One s5cmd process."""
        return timed([S5CMD, "--endpoint-url", self.server.endpoint, *words], **self.server.environment)

    def rclone(self, *words: str | Path) -> Run:
        """One rclone process; a word that starts with bench/ is in the bucket."""
        remote = f":s3,provider=SeaweedFS,env_auth=true,endpoint='{self.server.endpoint}',region=us-east-1:"
        placed = [f"{remote}{word}" if str(word).startswith("bench/") else word for word in words]
        command = [BIN / "rclone", *placed, "--s3-no-check-bucket"]
        return timed(command, **self.server.environment, RCLONE_CONFIG="/dev/null")

    def gone(self, path: Path, run: Run) -> Run:
        """Remove what a run fetched."""
        path.unlink()
        return run

    def seconds(self, name: str) -> list[float]:
        """The wall times of one task."""
        return [run.seconds for run in self.runs[name]]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, seaweedfs(Path(folder) / "seaweed") as server:
        server.client().create_bucket(Bucket="bench")
        bench = Bench(server, Path(folder) / "source", PageCache(Path(folder) / "sparse"))
        fill(bench.source)
        for number in range(ROUNDS):
            bench.round(number)
    print(f"{SIZE / 1e9:g} GB, {ROUNDS} alternating rounds, {machine()}")
    for name, done in bench.runs.items():
        speed = spread([SIZE / 1e6 / run.seconds for run in done], unit="MB/s", digits=0)
        print(f"{name}: {speed}, peak {max(run.peak for run in done) / 1e6:.0f} MB")
    for ours, theirs in (
        ("llstore put", "s5cmd put"),
        ("llstore put", "rclone put"),
        ("llstore get s3", "s5cmd get"),
        ("llstore get seaweedfs", "s5cmd get"),
        ("llstore get seaweedfs with master", "s5cmd get"),
        ("llstore get s3", "rclone get"),
    ):
        print(f"{ours} is {ratio(bench.seconds(ours), bench.seconds(theirs))} {theirs}")


def digest_of(path: Path) -> str:
    """The file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fill(path: Path) -> None:
    """Random bytes: nothing on the way can compress them."""
    with path.open("wb") as file:
        for _ in range(SIZE // BLOCK):
            file.write(os.urandom(BLOCK))


if __name__ == "__main__":
    main()
