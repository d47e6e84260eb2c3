"""The whole story in one script: two machines, a lock between them, a network that is cut, a machine that is late."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import tiny
from seaweed import SeaweedFS

FIXTURES = Path(tiny.__file__).parent


@pytest.fixture
def network(seaweed: SeaweedFS) -> Iterator[subprocess.Popen[str]]:
    """The way to the bucket, as a process that can be killed; its first line of output is where it listens."""
    command = [sys.executable, str(FIXTURES / "faulty.py"), seaweed.endpoint]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_the_ci_story(
    bucket: str, seaweed: SeaweedFS, network: subprocess.Popen[str], tmp_path: Path, smollm2: Path
) -> None:
    assert network.stdout
    reached = urlsplit(network.stdout.readline().strip()).netloc
    names = {"SMALL": 1, "LATER": 2, "LATEST": 3, "STRAY": 4}
    models = {name: str(tiny.write_tiny(tmp_path / f"{name}.gguf", seed=seed)) for name, seed in names.items()}
    told = subprocess.run(
        [FIXTURES / "ci_story.sh", tmp_path / "story"],
        env={
            **os.environ,
            **models,
            "CHAT": str(smollm2),
            "STORE": bucket,
            "NETWORK_STORE": bucket.replace(urlsplit(seaweed.endpoint).netloc, reached),
            "NETWORK": str(network.pid),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout.splitlines()[-1] == "told"
    assert network.wait(10) != 0, "the script cut the network"
