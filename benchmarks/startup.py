"""How long `llstore --help` takes, beside importing typer alone; and a get of what the cache has, beside `--help`."""

import hashlib
import sys
import tempfile
from pathlib import Path

from measure import machine, ratio, spread, timed

ROUNDS = 15
BIN = Path(sys.executable).parent
# Nothing listens there: a request would fail.
NOWHERE = "s3://nowhere?endpoint=http://127.0.0.1:1"


def main() -> None:
    ours, typer, warm = [], [], []
    with tempfile.TemporaryDirectory() as home:
        digest = cached(Path(home))
        for _ in range(ROUNDS):
            ours.append(timed([BIN / "llstore", "--help"]).seconds)
            typer.append(timed([sys.executable, "-c", "import typer"]).seconds)
            warm.append(timed([BIN / "llstore", "get", digest, "--store", NOWHERE], LLSTORE_HOME=home).seconds)
    print(f"{ROUNDS} alternating rounds, {machine()}")
    print(f"llstore --help: {spread(ours, unit='s', digits=3)}")
    print(f"python -c 'import typer': {spread(typer, unit='s', digits=3)}")
    print(f"llstore get, cached: {spread(warm, unit='s', digits=3)}")
    print(f"llstore --help takes {ratio(typer, ours)} import typer")
    print(f"llstore get, cached, takes {ratio(ours, warm)} llstore --help")


def cached(home: Path) -> str:
    """Bring a file of 100 MB into a cache; returns its digest."""
    (home / "file").write_bytes(bytes(range(250)) * 400_000)
    (home / "store").mkdir()
    store = ("--store", (home / "store").as_uri())
    environment = {"LLSTORE_HOME": str(home)}
    timed([BIN / "llstore", "put", home / "file", "--role", "other", "--name", "bench/warm", *store], **environment)
    timed([BIN / "llstore", "get", "bench/warm", *store], **environment)
    return hashlib.sha256((home / "file").read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
