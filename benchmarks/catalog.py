"""A store of 1,000, 10,000 and 100,000 models: a first sync, the next one, a filtered list, each as a whole command.

Usage: python benchmarks/catalog.py   (ROUNDS=5, MODELS=1000,10000,100000)
"""

import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "fixtures"))

from measure import ROUNDS, machine, spread, timed
from seaweed import SeaweedFS, seaweedfs

from llstore.store import Digest, Manifest, Name, Role, ulid
from llstore.store.backends import Backend, open_backend
from llstore.store.entry import label_entry, put_entry, tag_entry
from llstore.store.layout import FORMAT_KEY, journal_key
from llstore.store.manifest import FileEntry, ModelFacts, canonical

LLSTORE = Path(sys.executable).parent / "llstore"
MODELS = [int(count) for count in os.environ.get("MODELS", "1000,10000,100000").split(",")]
MANY = 50_000  # models of which a first sync is measured once
AGE = 2 * 24 * 3600  # seconds: old enough for a snapshot
SPAN = 100 * 24 * 3600  # seconds over which they came
FILTER = ("--label", "stage=prod", "--arch", "gemma3", "--quant", "Q8_0")


def main() -> None:
    print(
        f"{machine()}; every entry is one object of SeaweedFS on the same cores; a tag and a label for each tenth model"
    )
    with tempfile.TemporaryDirectory() as folder, seaweedfs(Path(folder) / "seaweed") as server:
        for count in MODELS:
            measure(server, Path(folder), count)


def measure(server: SeaweedFS, folder: Path, count: int) -> None:
    """Fill a bucket with `count` models and print what commands take."""
    name = f"models-{count}"
    server.bucket(name)
    with closing(open_backend(server.filer_url(name))) as backend:
        entries = fill(backend, count)
        print(f"\n{count} models, {entries} entries")
        for kind, url in (("s3", server.url(name)), ("filer", server.filer_url(name))):
            print(f"  first sync, {kind}, the whole journal: {fresh(server, folder, url, count)}", flush=True)
        command(server, folder / "maker", server.url(name), "store", "snapshot")
        for kind, url in (("s3", server.url(name)), ("filer", server.filer_url(name))):
            print(f"  first sync, {kind}, by snapshot: {fresh(server, folder, url, count)}", flush=True)
        home, url = folder / f"home-{count}", server.url(name)
        command(server, home, url, "list", "--limit", "1")
        filtered, synced, idle = [], [], []
        for number in range(ROUNDS):
            append(backend, tag_entry(Name(f"new/n{number}"), Digest("0" * 64)), age=0)
            synced.append(command(server, home, url, "list", "--limit", "1"))
            idle.append(command(server, home, url, "list", "--limit", "1"))
            filtered.append(command(server, home, url, "list", *FILTER, "--json"))
        print(f"  list of one model, one new entry: {spread(synced, unit='s')}; none new: {spread(idle, unit='s')}")
        print(f"  list with three filters: {spread(filtered, unit='s')}", flush=True)


def fresh(server: SeaweedFS, folder: Path, url: str, count: int) -> str:
    """What a first `list --limit 1` takes on fresh machines: several, or one of a large store."""
    rounds = ROUNDS if count < MANY else 1
    with tempfile.TemporaryDirectory(dir=folder) as homes:
        seconds = [command(server, Path(homes) / str(n), url, "list", "--limit", "1") for n in range(rounds)]
    return spread(seconds, unit="s")


def command(server: SeaweedFS, home: Path, url: str, *words: str) -> float:
    """Seconds that one llstore process took."""
    environment = {**server.environment, "LLSTORE_STORE": url, "LLSTORE_HOME": str(home)}
    return timed([LLSTORE, *words, "--quiet"], **environment).seconds


def fill(backend: Backend, count: int) -> int:
    """Write the journal of so many models; returns its length."""
    head = canonical({"format": 1})
    backend.write(FORMAT_KEY, [head], size=len(head))
    name, named, last = "", [], time.time() - AGE
    written = list(documents(count))
    for number, document in enumerate(written):
        name = ulid.mint(last - SPAN * (1 - number / len(written)), after=name)
        named.append((name, document))
    with ThreadPoolExecutor(16) as threads:
        return len(list(threads.map(lambda item: append(backend, item[1], name=item[0]), named)))


def append(backend: Backend, document: dict[str, Any], *, name: str = "", age: float = AGE) -> None:
    """Write one entry."""
    data = canonical(document)
    backend.write(journal_key(name or ulid.mint(time.time() - age)), [data], size=len(data))


def documents(count: int) -> Iterator[dict[str, Any]]:
    """The entries of so many models, the same each time."""
    chance = random.Random(0)
    for number in range(count):
        manifest = model(chance)
        yield put_entry(manifest)
        if number % 10 == 0:
            yield tag_entry(Name(f"team/model-{number}"), manifest.model)
            yield label_entry(manifest.model, {"stage": chance.choice(["prod", "test"])})


def model(chance: random.Random) -> Manifest:
    """A model like any other."""

    def digest() -> Digest:
        return Digest(f"{chance.getrandbits(256):064x}")

    facts = ModelFacts(
        architecture=chance.choice(["llama", "gemma3", "qwen3"]),
        parameters=chance.randrange(10**9),
        quantization=chance.choice(["Q4_K_M", "Q8_0", "F16"]),
        context_length=8192,
        embedding_length=4096,
        tokenizer="gpt2",
        license="apache-2.0",
        template=digest(),
        vocabulary=digest(),
        tensors=digest(),
    )
    return Manifest((FileEntry(Role.WEIGHTS, digest(), chance.randrange(10**8, 10**10), digest()),), facts)


if __name__ == "__main__":
    main()
