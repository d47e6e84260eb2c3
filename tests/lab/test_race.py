"""Writers and collectors in processes of their own, on one real bucket, with no grace: nothing that lives is lost."""

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import racer
from racer import contents
from seaweed import SeaweedFS

from llstore.store import Digest, Settings, Store
from llstore.store.fsck.finding import Depth, Kind

SECONDS = 90 if os.environ.get("LLSTORE_SOAK") else 4
WRITERS, COLLECTORS = 3, 2
PATIENCE = 120.0  # seconds a worker may take for what it has begun


def test_puts_removals_and_collections_at_once_lose_no_byte_that_lives(
    bucket: str, seaweed: SeaweedFS, tmp_path: Path
) -> None:
    kinds = ["writer"] * WRITERS + ["collector"] * COLLECTORS
    workers = []
    for seed, kind in enumerate(kinds):
        home = tmp_path / f"{kind}-{seed}"
        home.mkdir()
        command = [sys.executable, racer.__file__, kind, str(home), bucket, str(seed), str(SECONDS)]
        workers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    try:
        answers = [json.loads(worker.communicate(timeout=SECONDS + PATIENCE)[0]) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert [worker.returncode for worker in workers] == [0] * len(workers)
    assert all(sum(answer[what] for answer in answers) > 0 for what in ("put", "removed", "deleted")), answers
    assert sum(answer["lost"] for answer in answers) == 0, answers
    client, name = seaweed.client(), urlsplit(bucket).netloc
    wanted = {Digest.of(content) for seed in range(WRITERS) for content in contents(seed)}
    with Store(Settings(cache=tmp_path / "fresh/cache", data=tmp_path / "fresh/data", url=bucket)) as store:
        assert {model.digest for model in store.models()} == wanted
        report = store.fsck(Depth(full=True), bucket=True)
        assert [finding for finding in report.findings if finding.kind is not Kind.UNREFERENCED] == []
    for digest in wanted:
        key = f"blobs/sha256/{digest.hex[:2]}/{digest.hex}"
        assert Digest.of(client.get_object(Bucket=name, Key=key)["Body"].read()) == digest
