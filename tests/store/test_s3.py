"""The S3 backend: uploads that resume, reads that show no signature, and every way to say where and who."""

import hashlib
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.awsrequest import AWSResponse
from seaweed import SeaweedFS

from llstore.store.backends import open_backend
from llstore.store.backends.s3 import PART_SIZE, S3Backend, S3Location
from llstore.store.backends.s3_errors import declined, region_of
from llstore.store.backends.s3_parts import Goal, PartedWrite, rows
from llstore.store.backends.wire import Answer
from llstore.store.errors import (
    BucketNotFound,
    InvalidUrl,
    KeyNotFound,
    NoSpace,
    Refused,
    SourceChanged,
    StoreError,
    Unreachable,
)

KEY = "blobs/large"
PARTS = 6
TAIL = 1000
SIZE = (PARTS - 1) * PART_SIZE + TAIL


def part(number: int) -> bytes:
    """The bytes of a part, 1 the first; the last is short."""
    return bytes([number]) * (TAIL if number == PARTS else PART_SIZE)


def chunks() -> Iterator[bytes]:
    for number in range(1, PARTS + 1):
        yield part(number)


def opened(url: str) -> S3Backend:
    backend = open_backend(url)
    assert isinstance(backend, S3Backend)
    return backend


@pytest.fixture
def s3(bucket: str) -> Iterator[S3Backend]:
    with closing(opened(bucket)) as backend:
        yield backend


@pytest.fixture
def name(bucket: str) -> str:
    return urlsplit(bucket).netloc


class Watch:
    """What a backend sends: each operation that leaves, and the numbers of the parts."""

    def __init__(self, backend: S3Backend) -> None:
        self.operations: Counter[str] = Counter()
        self.parts: list[int] = []
        self.answers: dict[str, list[AWSResponse]] = {}
        backend._client.meta.events.register("before-send.s3", self._note)

    def _note(self, request, event_name: str, **_) -> AWSResponse | None:
        operation = event_name.rpartition(".")[2]
        self.operations[operation] += 1
        if operation == "UploadPart":
            self.parts.append(int(parse_qs(urlsplit(request.url).query)["partNumber"][0]))
        waiting = self.answers.get(operation)
        return waiting.pop() if waiting else None


class Body:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self, **_) -> Iterator[bytes]:
        yield self._data


def answer(status: int, code: str = "", **headers: str) -> AWSResponse:
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode() if code else b""
    return AWSResponse("http://nowhere/", status, headers, Body(body))


def begun(server: SeaweedFS, bucket: str, parts: dict[int, bytes]) -> str:
    """An upload that somebody left with these parts."""
    client = server.client()
    upload = client.create_multipart_upload(Bucket=bucket, Key=KEY)["UploadId"]
    for number, body in parts.items():
        client.upload_part(Bucket=bucket, Key=KEY, UploadId=upload, PartNumber=number, Body=body)
    return upload


def uploads(server: SeaweedFS, bucket: str) -> list[str]:
    found = server.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return [upload["UploadId"] for upload in found]


def is_whole(backend: S3Backend) -> bool:
    wanted = hashlib.sha256(b"".join(chunks())).digest()
    return hashlib.sha256(b"".join(backend.read(KEY))).digest() == wanted


KILLED = """
import sys, time
from llstore.store.backends import open_backend
sys.path.insert(0, sys.argv[2])
import test_s3
def slow():
    for number in range(1, test_s3.PARTS + 1):
        if number == 5:
            print("waiting", flush=True)
            time.sleep(60)
        yield test_s3.part(number)
open_backend(sys.argv[1]).write(test_s3.KEY, slow(), size=test_s3.SIZE)
"""


def test_after_a_kill_only_missing_parts_are_sent(s3: S3Backend, bucket: str, name: str, seaweed: SeaweedFS) -> None:
    command = [sys.executable, "-c", KILLED, bucket, str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            assert process.stdout.readline() == b"waiting\n"
            (upload,) = uploads(seaweed, name)
            there: set[int] = set()
            deadline = time.monotonic() + 30
            while len(there) < 3 and time.monotonic() < deadline:
                listed = seaweed.client().list_parts(Bucket=name, Key=KEY, UploadId=upload)
                there = {one["PartNumber"] for one in listed.get("Parts", [])}
        finally:
            process.send_signal(signal.SIGKILL)
    assert len(there) >= 3
    with pytest.raises(KeyNotFound):
        s3.stat(KEY)
    watch = Watch(s3)
    s3.write(KEY, chunks(), size=SIZE)
    assert not there & set(watch.parts)
    assert is_whole(s3)
    assert not uploads(seaweed, name)


def test_a_part_that_is_not_ours_is_replaced(s3: S3Backend, name: str, seaweed: SeaweedFS) -> None:
    begun(seaweed, name, {1: b"?" * PART_SIZE, 2: part(2), 3: part(3)[:-1], 4: part(4), 6: part(6)})
    watch = Watch(s3)
    s3.write(KEY, chunks(), size=SIZE)
    assert sorted(watch.parts) == [1, 3, 5]
    assert is_whole(s3)


def test_parts_beyond_the_end_stay_out(s3: S3Backend, name: str, seaweed: SeaweedFS) -> None:
    begun(seaweed, name, {1: part(1), PARTS + 1: b"more" * 100})
    s3.write(KEY, chunks(), size=SIZE)
    assert is_whole(s3)


def test_an_upload_of_a_longer_key_is_let_be(s3: S3Backend, name: str, seaweed: SeaweedFS) -> None:
    client = seaweed.client()
    other = client.create_multipart_upload(Bucket=name, Key=KEY + "r")["UploadId"]
    client.upload_part(Bucket=name, Key=KEY + "r", UploadId=other, PartNumber=1, Body=part(1))
    watch = Watch(s3)
    s3.write(KEY, chunks(), size=SIZE)
    assert len(watch.parts) == PARTS
    assert len(client.list_parts(Bucket=name, Key=KEY + "r", UploadId=other)["Parts"]) == 1


def test_the_fullest_of_several_uploads_is_resumed(s3: S3Backend, name: str, seaweed: SeaweedFS) -> None:
    begun(seaweed, name, {1: part(1), 2: part(2)})
    begun(seaweed, name, {})
    watch = Watch(s3)
    s3.write(KEY, chunks(), size=SIZE)
    assert sorted(watch.parts) == [3, 4, 5, 6]


def test_more_parts_than_a_page_are_all_found(s3: S3Backend, name: str, seaweed: SeaweedFS) -> None:
    begun(seaweed, name, {number: b"%04d" % number for number in range(1, 1102)})
    found = PartedWrite(s3._client, Goal(name, KEY, 0, s3.properties.url))._begun()
    assert found is not None
    assert len(found.parts) == 1101
    assert found.parts[1101].etag == hashlib.md5(b"1101").hexdigest()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, Unreachable])
def test_what_an_interrupt_leaves_is_resumed(
    s3: S3Backend, name: str, seaweed: SeaweedFS, stop: type[BaseException]
) -> None:
    def stopped() -> Iterator[bytes]:
        yield part(1)
        yield part(2)
        raise stop("now")

    with pytest.raises(stop):
        s3.write(KEY, stopped(), size=SIZE)
    assert len(uploads(seaweed, name)) == 1
    with pytest.raises(KeyNotFound):
        s3.stat(KEY)
    watch = Watch(s3)
    s3.write(KEY, chunks(), size=SIZE)
    assert sorted(watch.parts) == [3, 4, 5, 6]
    assert is_whole(s3)


def failing() -> Iterator[bytes]:
    yield part(1)
    raise SourceChanged("the file changed")


def test_a_source_that_fails_leaves_no_upload(s3: S3Backend, name: str, seaweed: SeaweedFS) -> None:
    with pytest.raises(SourceChanged):
        s3.write(KEY, failing(), size=SIZE)
    assert not uploads(seaweed, name)


def test_nothing_is_aborted_where_the_object_exists(s3: S3Backend) -> None:
    s3.write(KEY, [b"old"], size=3)
    watch = Watch(s3)
    with pytest.raises(SourceChanged):
        s3.write(KEY, failing(), size=SIZE)
    assert not watch.operations["AbortMultipartUpload"]
    assert b"".join(s3.read(KEY)) == b"old"


def test_an_upload_of_another_is_never_aborted(s3: S3Backend, name: str, seaweed: SeaweedFS) -> None:
    upload = begun(seaweed, name, {1: part(1)})
    with pytest.raises(SourceChanged):
        s3.write(KEY, failing(), size=SIZE)
    assert uploads(seaweed, name) == [upload]


@pytest.mark.parametrize("size", [SIZE - 1, SIZE + 1, PART_SIZE])
def test_a_source_of_another_length_makes_no_object(s3: S3Backend, size: int) -> None:
    with pytest.raises(SourceChanged, match=f"of {size} bytes"):
        s3.write(KEY, chunks(), size=size)
    with pytest.raises(KeyNotFound):
        s3.stat(KEY)


@pytest.mark.parametrize("finished", [True, False])
def test_an_upload_ended_by_another_is_done_if_the_object_is_there(
    s3: S3Backend, name: str, seaweed: SeaweedFS, finished: bool
) -> None:
    def ended() -> Iterator[bytes]:
        yield from [part(number) for number in range(1, 5)]
        client = seaweed.client()
        (upload,) = uploads(seaweed, name)
        client.abort_multipart_upload(Bucket=name, Key=KEY, UploadId=upload)
        if finished:
            client.put_object(Bucket=name, Key=KEY, Body=b"".join(chunks()))
        yield from [part(5), part(6)]

    if finished:
        s3.write(KEY, ended(), size=SIZE)
        assert is_whole(s3)
    else:
        with pytest.raises(Unreachable, match="ended by another") as caught:
            s3.write(KEY, ended(), size=SIZE)
        assert caught.value.hint == "put it again"
        assert type(caught.value) is Unreachable


def test_who_may_not_list_uploads_begins_a_new_one(s3: S3Backend, name: str, seaweed: SeaweedFS) -> None:
    begun(seaweed, name, {1: part(1)})
    watch = Watch(s3)
    watch.answers["ListMultipartUploads"] = [answer(403, "AccessDenied")]
    s3.write(KEY, chunks(), size=SIZE)
    assert len(watch.parts) == PARTS
    assert is_whole(s3)


def test_a_part_that_fails_is_sent_again_alone(s3: S3Backend) -> None:
    watch = Watch(s3)
    watch.answers["UploadPart"] = [answer(503, "SlowDown"), answer(500, "InternalError")]
    s3.write(KEY, chunks(), size=SIZE)
    assert len(watch.parts) == PARTS + 2
    assert is_whole(s3)


def test_the_size_is_checked_after_completing(s3: S3Backend) -> None:
    watch = Watch(s3)
    watch.answers["HeadObject"] = [
        answer(200, **{"Content-Length": "5", "Last-Modified": "Sat, 21 Nov 2026 12:00:00 GMT"})
    ]
    with pytest.raises(Unreachable, match=f"stored 5 of {SIZE} bytes"):
        s3.write(KEY, chunks(), size=SIZE)


def test_a_write_needs_no_right_to_delete(s3: S3Backend) -> None:
    watch = Watch(s3)
    s3.write(KEY, chunks(), size=SIZE)
    s3.write("small", [b"x"], size=1)
    assert set(watch.operations) == {
        "ListMultipartUploads",
        "CreateMultipartUpload",
        "UploadPart",
        "CompleteMultipartUpload",
        "HeadObject",
        "PutObject",
    }


def test_parts_are_cut_from_chunks_of_any_size() -> None:
    assert list(rows([b"abc", b"defgh", b"", b"ij"], 4)) == [b"abcd", b"efgh", b"ij"]
    assert list(rows([b"abcdefgh", b"i"], 4)) == [b"abcd", b"efgh", b"i"]
    whole = b"abcd"
    assert next(rows([whole], 4)) is whole


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
def serving(*, home: str = "", certificate: Path | None = None) -> Iterator[str]:
    """The endpoint of such a server, with TLS when there is a certificate."""
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Whole,), {"home": home})) as server:
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


def test_a_server_that_ignores_ranges_is_noticed_and_read_right(seaweed: SeaweedFS) -> None:
    with serving() as endpoint, closing(opened(f"s3://bucket?endpoint={endpoint}")) as backend:
        assert backend.properties.ranges
        assert b"".join(backend.read("a", start=3, length=4)) == b"3456"
        assert not backend.properties.ranges


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
