"""Read-only mirrors: a folder behind a web server."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mirror import Mirror, mirror

from llstore.store import Name, PutRequest, Settings, Store
from llstore.store.backends import Backend, open_backend
from llstore.store.backends.https import MOST_HOPS, HttpsBackend
from llstore.store.curate import label, remove, tag, untag
from llstore.store.errors import KeyNotFound, Refused, StoreError, Unreachable

SECRET = "sig=s3cr%2Ft%3D&se=2030"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "www"
    found.mkdir()
    (found / "a").write_bytes(b"01234")
    (found / "empty").write_bytes(b"")
    return found


@pytest.fixture
def server(folder: Path) -> Iterator[Mirror]:
    with mirror(folder) as found:
        yield found


@pytest.fixture
def shown(server: Mirror) -> Iterator[Backend]:
    with closing(open_backend(server.url)) as found:
        yield found


def read(backend: Backend, key: str, **span: int) -> bytes:
    return b"".join(backend.read(key, **span))


def test_a_model_put_into_a_folder_is_got_from_its_mirror_by_digest(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    settings = Settings(cache=tmp_path / "c", data=tmp_path / "d", url=(tmp_path / "www").as_uri())
    with Store(settings) as store:
        digest = store.put(PutRequest(tiny)).manifest.model
    with mirror(tmp_path / "www", query=SECRET) as server:
        there = Settings(cache=tmp_path / "there/c", data=tmp_path / "there/d", url=server.url)
        with Store(there) as store:
            assert store.get(digest).path.read_bytes() == tiny.read_bytes()
            with pytest.raises(Refused, match="cannot be listed"):
                store.models()
            with pytest.raises(Refused, match="cannot be listed"):
                store.reindex()
            for change in (
                lambda: tag(store, digest, Name("a/b")),
                lambda: untag(store, Name("a/b")),
                lambda: label(store, digest, {"a": "b"}, annotations={}),
                lambda: remove(store, [digest]),
            ):
                with pytest.raises(Refused, match="read-only mirror"):
                    change()


@pytest.mark.parametrize(
    "verb",
    [
        lambda backend: backend.write("b", [b"x"], size=1),
        lambda backend: backend.delete("a"),
        lambda backend: list(backend.list("")),
    ],
)
def test_a_mirror_only_reads(shown: Backend, server: Mirror, verb: Callable[[Backend], object]) -> None:
    with pytest.raises(Refused, match="is a read-only mirror") as failed:
        verb(shown)
    assert failed.value.hint
    assert not server.requests
    assert (shown.properties.writable, shown.properties.listable) == (False, False)


def test_a_mirror_that_ignores_ranges_is_read_right_and_known_for_it(folder: Path) -> None:
    with mirror(folder, ranges=False) as server, closing(open_backend(server.url)) as backend:
        assert read(backend, "a") == b"01234"
        assert backend.properties.ranges
        assert read(backend, "a", start=1, length=2) == b"12"
        assert not backend.properties.ranges


def test_it_is_known_as_soon_as_the_first_bytes_come(folder: Path) -> None:
    (folder / "large").write_bytes(bytes(1 << 20))
    with mirror(folder, ranges=False) as server, closing(open_backend(server.url)) as backend:
        pieces = backend.read("large", start=1)
        next(pieces)
        assert not backend.properties.ranges
        pieces.close()  # type: ignore[attr-defined]


def test_the_query_ends_every_url(folder: Path) -> None:
    with mirror(folder, query=SECRET) as server:
        with closing(open_backend(server.url)) as backend:
            assert (read(backend, "a"), backend.stat("a").size) == (b"01234", 5)
        with closing(open_backend(server.bare)) as backend, pytest.raises(Refused):
            read(backend, "a")


def test_the_query_is_never_shown(folder: Path) -> None:
    said = []
    with mirror(folder, query=SECRET) as server, closing(open_backend(server.url)) as backend:
        server.moved = {"/loop": f"/loop?{SECRET}", "/ftp": f"ftp://host/x?{SECRET}", "/bad": f"http://[x?{SECRET}"}
        assert SECRET not in backend.properties.url
        for key in ("absent", "loop", "ftp", "bad"):
            said.append(_said(lambda key=key: read(backend, key)))
            said.append(_said(lambda key=key: backend.stat(key)))
        for status in (403, 500, 418):
            server.status = status
            said.append(_said(lambda: read(backend, "a")))
            said.append(_said(lambda: backend.stat("a")))
        said.append(_said(lambda: backend.write("a", [], size=0)))
    with closing(open_backend(f"http://127.0.0.1:1/x?{SECRET}")) as backend:
        said.append(_said(lambda: read(backend, "a")))
    assert len(said) == 16
    assert not [line for line in said if "s3cr" in line or "2030" in line]


def _said(verb: Callable[[], object]) -> str:
    with pytest.raises(StoreError) as failed:
        verb()
    return f"{failed.value} {failed.value.hint}"


@pytest.mark.parametrize("ranges", [True, False])
def test_a_url_signed_for_get_alone_tells_size_and_age_all_the_same(folder: Path, ranges: bool) -> None:
    os.utime(folder / "a", (1_000_000_000, 1_000_000_000))
    with mirror(folder, ranges=ranges) as server, closing(open_backend(server.url)) as backend:
        server.head = False
        stat = backend.stat("a")
        assert (stat.size, stat.modified) == (5, 1_000_000_000)
        assert backend.stat("empty").size == 0
        with pytest.raises(KeyNotFound):
            backend.stat("absent")


@pytest.mark.parametrize(
    ("status", "error"), [(404, KeyNotFound), (403, Refused), (401, Refused), (500, Unreachable), (429, Unreachable)]
)
def test_a_status_means_one_error(shown: Backend, server: Mirror, status: int, error: type[StoreError]) -> None:
    server.status = status
    for verb in (lambda: shown.stat("a"), lambda: read(shown, "a"), lambda: read(shown, "a", start=1, length=0)):
        with pytest.raises(error):
            verb()


def test_redirects_are_followed_up_to_five(shown: Backend, server: Mirror, folder: Path) -> None:
    with mirror(folder) as other:
        server.moved = {f"/hop{number}": f"/hop{number - 1}" for number in range(1, MOST_HOPS + 1)}
        server.moved["/hop0"] = f"{other.bare}/a"
        # hop4 is five redirects away from the object, hop5 six.
        assert read(shown, "hop4", start=1, length=3) == b"123"
        assert shown.stat("hop4").size == 5
        assert shown.stat("hop4").key == "hop4"
        for verb in (lambda: read(shown, "hop5"), lambda: shown.stat("hop5")):
            with pytest.raises(Refused, match="more than 5 times"):
                verb()


def test_a_folder_is_no_object(shown: Backend, server: Mirror) -> None:
    server.moved = {"/folder": "/folder/"}
    with pytest.raises(KeyNotFound):
        read(shown, "folder")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs for itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    made = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-days", "2", "-subj", "/CN=llstore tests", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *names, "-out", made[0], "-keyout", made[1]], check=True, capture_output=True)
    return made


@pytest.fixture
def secure(server: Mirror, certificate: tuple[Path, Path]) -> Mirror:
    server.secure(*certificate)
    return server


def test_a_trusted_certificate_is_served_over_https(secure: Mirror, certificate: tuple[Path, Path]) -> None:
    with closing(HttpsBackend(secure.url, ca=str(certificate[0]))) as backend:
        assert read(backend, "a", start=1) == b"1234"
        assert backend.stat("a").size == 5


def test_a_certificate_nobody_signed_for_is_unreachable(secure: Mirror) -> None:
    with closing(open_backend(secure.url)) as backend, pytest.raises(Unreachable, match="is not trusted"):
        read(backend, "a")


def test_a_certificate_of_another_host_is_unreachable(secure: Mirror, certificate: tuple[Path, Path]) -> None:
    url = secure.url.replace("127.0.0.1", "localhost")
    with closing(HttpsBackend(url, ca=str(certificate[0]))) as backend, pytest.raises(Unreachable, match="localhost"):
        read(backend, "a")


def test_https_is_never_left_for_http(secure: Mirror, certificate: tuple[Path, Path], folder: Path) -> None:
    with mirror(folder) as plain, closing(HttpsBackend(secure.url, ca=str(certificate[0]))) as backend:
        secure.moved = {"/away": f"{plain.bare}/a"}
        for verb in (lambda: read(backend, "away"), lambda: backend.stat("away")):
            with pytest.raises(Refused, match="redirects away to http://"):
                verb()
        assert not plain.requests


def test_http_may_be_left_for_https(server: Mirror, certificate: tuple[Path, Path], folder: Path) -> None:
    with mirror(folder) as plain:
        server.secure(*certificate)
        plain.moved = {"/away": f"{server.bare}/a"}
        with closing(HttpsBackend(plain.url, ca=str(certificate[0]))) as backend:
            assert read(backend, "away") == b"01234"
