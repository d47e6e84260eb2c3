"""What the store's tests share: part files, and a bucket reached through S3."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import parts
import pytest

from llstore.store.backends import open_backend
from llstore.store.backends.s3 import S3Backend
from llstore.store.disk import PartFile


@pytest.fixture
def part_of(tmp_path: Path) -> Callable[[int], PartFile]:
    """Makes part files of so many bytes."""
    return lambda size: PartFile(tmp_path / f"{uuid.uuid4().hex}.part", size=size)


@pytest.fixture
def s3(bucket: str) -> Iterator[S3Backend]:
    """The fresh bucket, opened."""
    with closing(open_backend(bucket)) as backend:
        assert isinstance(backend, S3Backend)
        yield backend


@pytest.fixture
def name(bucket: str) -> str:
    """The fresh bucket's name."""
    return urlsplit(bucket).netloc


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A model of three shards."""
    return parts.write_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="session")
def projector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF that is a projector."""
    return parts.write_projector(tmp_path_factory.mktemp("projector") / "mmproj-f16.gguf")
