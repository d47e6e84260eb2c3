"""The S3 backend: reads that show no signature, and every way to say where and who."""

import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from seaweed import SeaweedFS

from llstore.store.backends import open_backend
from llstore.store.backends.s3 import S3Backend, S3Location
from llstore.store.backends.s3_errors import declined, region_of
from llstore.store.backends.wire import Answer
from llstore.store.errors import (
    BucketNotFound,
    InvalidUrl,
    KeyNotFound,
    NoSpace,
    Refused,
    StoreError,
    Unreachable,
)


def opened(url: str) -> S3Backend:
    backend = open_backend(url)
    assert isinstance(backend, S3Backend)
    return backend


def test_a_read_from_the_end_on_has_no_bytes(s3: S3Backend) -> None:
    s3.write("a", [b"01234"], size=5)
    assert b"".join(s3.read("a", start=5)) == b""
    assert b"".join(s3.read("a", start=9, length=3)) == b""


def test_an_answer_to_a_read_means_what_it_means_elsewhere() -> None:
    def error(status: int, code: str) -> StoreError:
        return declined(Answer(status, {}, f"<Error><Code>{code}</Code></Error>".encode()), "s3://b", key="k")

    assert type(error(404, "NoSuchKey")) is KeyNotFound
    assert type(error(404, "NoSuchBucket")) is BucketNotFound
    assert type(error(403, "AccessDenied")) is Refused
    assert "new one" in error(400, "ExpiredToken").hint
    assert type(error(503, "SlowDown")) is Unreachable
    assert type(error(400, "RequestTimeout")) is Unreachable
    assert type(error(507, "InsufficientStorage")) is NoSpace
    assert type(declined(Answer(404, {}, b""), "s3://b", key="k")) is KeyNotFound
    assert type(declined(Answer(502, {}, b"<html>"), "s3://b", key="k")) is Unreachable


def test_a_message_of_the_server_is_one_line_without_markup() -> None:
    body = b"<Error><Code>AccessDenied</Code><Message>not\n you &amp; me</Message></Error>"
    assert str(declined(Answer(403, {}, body), "s3://b", key="k")) == "s3://b refused (AccessDenied): not you & me"
    echo = b"<Error><Code>Bad</Code><Message>/b/k?X-Amz-Signature=abc</Message></Error>"
    assert "X-Amz" not in str(declined(Answer(400, {}, echo), "s3://b", key="k"))


def test_the_region_of_a_bucket_is_read_from_a_refusal() -> None:
    malformed = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-north-1</Region></Error>"
    assert region_of(Answer(400, {}, malformed)) == "eu-north-1"
    assert region_of(Answer(301, {"X-Amz-Bucket-Region": "eu-west-1"})) == "eu-west-1"
    assert region_of(Answer(404, {"X-Amz-Bucket-Region": "eu-west-1"})) is None


@pytest.mark.parametrize(
    "break_it",
    [
        lambda environment: environment.setenv("AWS_SECRET_ACCESS_KEY", "wrong"),
        lambda environment: environment.setenv("AWS_SESSION_TOKEN", "a-token"),
    ],
)
def test_no_signature_is_shown_when_a_read_is_refused(
    bucket: str, monkeypatch: pytest.MonkeyPatch, break_it: Callable[[pytest.MonkeyPatch], None]
) -> None:
    break_it(monkeypatch)
    with closing(opened(bucket)) as backend, pytest.raises(Refused) as caught:
        list(backend.read("llstore.json"))
    assert "X-Amz" not in f"{caught.value} {caught.value.hint}"


def test_no_signature_is_shown_when_a_server_is_away(seaweed: SeaweedFS) -> None:
    with closing(opened("s3://bucket?endpoint=http://127.0.0.1:1")) as backend, pytest.raises(Unreachable) as caught:
        list(backend.read("llstore.json"))
    assert "X-Amz" not in f"{caught.value} {caught.value.hint}"


def test_without_credentials_nothing_is_signed(bucket: str, name: str) -> None:
    with closing(opened(f"{bucket}&anonymous=1")) as backend:
        assert "X-Amz" not in backend._signed("GET", "a/b")
        assert backend._signed("GET", "a/b").endswith(f"/{name}/a/b")
        with pytest.raises(Refused, match="AccessDenied"):
            list(backend.read("llstore.json"))
        with pytest.raises(Refused):
            backend.write("a", [b"x"], size=1)


def test_missing_credentials_are_said_to_be_missing(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with closing(opened(bucket)) as backend, pytest.raises(Refused, match="no credentials"):
        list(backend.read("llstore.json"))


def test_a_profile_brings_its_credentials(
    bucket: str, seaweed: SeaweedFS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = seaweed.environment
    for variable in keys:
        monkeypatch.delenv(variable)
    config = tmp_path / "config"
    config.write_text(
        f"[profile team]\naws_access_key_id = {keys['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {keys['AWS_SECRET_ACCESS_KEY']}\nregion = eu-north-1\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with closing(opened(f"{bucket}&profile=team")) as backend:
        backend.write("a", [b"x"], size=1)
        assert b"".join(backend.read("a")) == b"x"
        assert "eu-north-1" in backend._signed("GET", "a")
    with pytest.raises(Refused, match="another"):
        opened(f"{bucket}&profile=another")


def test_a_session_token_is_passed_on(monkeypatch: pytest.MonkeyPatch, seaweed: SeaweedFS) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a/token")
    with closing(opened("s3://models?region=eu-north-1")) as backend:
        query = parse_qs(urlsplit(backend._signed("GET", "a")).query)
    assert query["X-Amz-Security-Token"] == ["a/token"]
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("s3://models?region=eu-north-1", "https://models.s3.eu-north-1.amazonaws.com/a/b"),
        ("s3://models?region=eu-north-1&style=path", "https://s3.eu-north-1.amazonaws.com/models/a/b"),
        ("s3://our.models?region=eu-north-1", "https://s3.eu-north-1.amazonaws.com/our.models/a/b"),
        ("s3://models?endpoint=http://s3.example.com:8333", "http://s3.example.com:8333/models/a/b"),
        ("s3://models?endpoint=http://s3.example.com:8333&style=virtual", "http://models.s3.example.com:8333/a/b"),
        ("s3://models/some/prefix?endpoint=http://127.0.0.1:8333", "http://127.0.0.1:8333/models/some/prefix/a/b"),
    ],
)
def test_a_bucket_is_named_in_the_path_or_in_the_host(seaweed: SeaweedFS, url: str, address: str) -> None:
    with closing(opened(url)) as backend:
        assert backend._signed("GET", "a/b").partition("?")[0] == address


PROFILE = """
[profile named]
aws_access_key_id = a
aws_secret_access_key = b
endpoint_url = http://localhost:8333
[profile serviced]
services = ours
endpoint_url = http://wrong:1
[services ours]
s3 =
  endpoint_url = http://localhost:8334
[profile styled]
endpoint_url = http://s3.example.com:8333
s3 =
  addressing_style = virtual
"""


@pytest.mark.parametrize(
    ("environment", "url", "address"),
    [
        ({"AWS_ENDPOINT_URL": "http://localhost:8333"}, "s3://models", "http://localhost:8333/models/a"),
        (
            {"AWS_ENDPOINT_URL": "http://wrong:1", "AWS_ENDPOINT_URL_S3": "http://store:8333/"},
            "s3://models",
            "http://store:8333/models/a",
        ),
        ({"AWS_ENDPOINT_URL": "http://wrong:1"}, "s3://models?endpoint=http://right:2", "http://right:2/models/a"),
        ({}, "s3://models?profile=named", "http://localhost:8333/models/a"),
        ({"AWS_PROFILE": "serviced"}, "s3://models", "http://localhost:8334/models/a"),
        ({"AWS_PROFILE": "styled"}, "s3://models", "http://models.s3.example.com:8333/a"),
        ({"AWS_PROFILE": "styled"}, "s3://models?style=path", "http://s3.example.com:8333/models/a"),
        (
            {"AWS_ENDPOINT_URL": "http://wrong:1", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            "s3://models?region=eu-north-1",
            "https://models.s3.eu-north-1.amazonaws.com/a",
        ),
    ],
)
def test_an_endpoint_may_come_from_environment_or_profile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environment: dict[str, str], url: str, address: str
) -> None:
    (tmp_path / "config").write_text(PROFILE)
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_CONFIG_FILE": str(tmp_path / "config")}
    for name, value in {**keys, **environment}.items():
        monkeypatch.setenv(name, value)
    with closing(opened(url)) as backend:
        assert backend._signed("GET", "a").partition("?")[0] == address
        assert backend._wire is not None


def test_all_options_are_shown(tmp_path: Path, seaweed: SeaweedFS) -> None:
    ca = tmp_path / "a ca.pem"
    ca.touch()
    location = S3Location("b", "p", "http://h:1", region="r", style="path", anonymous=True, ca=str(ca))
    with closing(opened(location.url)) as backend:
        assert backend.properties.url == location.url
        assert backend._location == location


@pytest.mark.parametrize(
    "options",
    ["style=other", "anonymous=yes", "anonymous=", "ca=/no/such/file", "profile=", "region=a&region=b", "secret=x"],
)
def test_an_option_that_means_nothing_is_refused(options: str) -> None:
    with pytest.raises(InvalidUrl, match=options.partition("=")[0]):
        open_backend(f"s3://bucket?{options}")


class Whole(BaseHTTPRequestHandler):
    """A server that knows one object, sends it whole whatever the range, and lies in the region `home`."""

    home = ""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        wrong = self.home and f"%2F{self.home}%2F" not in self.path
        body = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>%s</Region></Error>" % self.home.encode()
        self.send_response(400 if wrong else 200)
        data = body if wrong else b"0123456789"
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(*, home: str = "", certificate: Path | None = None, handler: type[Whole] = Whole) -> Iterator[str]:
    """The endpoint of such a server, with TLS when there is a certificate."""
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), {"home": home})) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class Undated(Whole):
    """The same, and its answers to HEAD say no date."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "10")
        self.end_headers()


def test_an_answer_that_is_none_of_s3_is_an_error_and_no_traceback(seaweed: SeaweedFS) -> None:
    with serving(handler=Undated) as endpoint:
        backend = opened(f"s3://bucket?endpoint={endpoint}")
        with closing(backend), pytest.raises(Refused, match="as no S3 server does"):
            backend.stat("a")


class Sizeless(Whole):
    """An edge that takes the size of an object out of answers to HEAD."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Last-Modified", "Tue, 01 Dec 2026 00:00:00 GMT")
        self.end_headers()

    def send_response(self, code: int, message: str | None = None) -> None:
        super().send_response(code, message)
        if self.command == "GET":
            self.send_header("Last-Modified", "Tue, 01 Dec 2026 00:00:00 GMT")


def test_a_size_that_head_does_not_tell_is_that_of_the_object(seaweed: SeaweedFS) -> None:
    with serving(handler=Sizeless) as endpoint, closing(opened(f"s3://bucket?endpoint={endpoint}")) as backend:
        assert backend.stat("a").size == 10


def test_a_server_that_ignores_ranges_is_noticed_and_read_right(seaweed: SeaweedFS) -> None:
    with serving() as endpoint, closing(opened(f"s3://bucket?endpoint={endpoint}")) as backend:
        assert backend.properties.ranges
        assert b"".join(backend.read("a", start=3, length=4)) == b"3456"
        assert not backend.properties.ranges


class Circular(Whole):
    """It lies wherever it was not asked."""

    def do_GET(self) -> None:
        self.home = "eu-west-1" if "%2Feu-north-1%2F" in self.path else "eu-north-1"
        super().do_GET()


def test_a_server_that_names_one_region_and_then_the_other_ends_in_an_error(seaweed: SeaweedFS) -> None:
    with serving(handler=Circular) as endpoint:
        backend = opened(f"s3://bucket?endpoint={endpoint}")
        with closing(backend), pytest.raises(Refused):
            list(backend.read("a"))


def test_a_bucket_in_another_region_is_read_there(seaweed: SeaweedFS) -> None:
    with serving(home="eu-north-1") as endpoint:
        with closing(opened(f"s3://bucket?endpoint={endpoint}")) as backend:
            assert b"".join(backend.read("a")) == b"0123456789"
        with closing(opened(f"s3://bucket?endpoint={endpoint}&region=eu-west-1")) as backend:
            with pytest.raises(Refused, match="AuthorizationHeaderMalformed") as caught:
                list(backend.read("a"))
            assert "region" in caught.value.hint


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody else has heard of, with its key."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    what = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    command = ["openssl", *what.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path, "-out", path]
    subprocess.run(command, check=True, capture_output=True)
    return path


def test_a_certificate_of_ones_own_must_be_named(
    seaweed: SeaweedFS, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(certificate=certificate) as endpoint:
        url = f"s3://bucket?endpoint={endpoint}"
        with closing(opened(url)) as backend, pytest.raises(Unreachable, match=r"(?i)certificate"):
            list(backend.read("a"))
        with closing(opened(f"{url}&ca={certificate}")) as backend:
            assert b"".join(backend.read("a")) == b"0123456789"
            # boto3's own requests get past the certificate too: this server does not know the verb.
            with pytest.raises(StoreError, match="501"):
                backend.delete("a")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        with closing(opened(url)) as backend:
            assert b"".join(backend.read("a")) == b"0123456789"
