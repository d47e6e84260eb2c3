"""An upload in parts: resumed after a crash, never another's, and checked when it is done."""

import hashlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.awsrequest import AWSResponse
from seaweed import SeaweedFS
from waiting import until

from llstore.store.backends.s3 import PART_SIZE, S3Backend
from llstore.store.backends.s3_parts import Goal, PartedWrite, rows
from llstore.store.errors import (
    KeyNotFound,
    SourceChanged,
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
import test_s3_parts
def slow():
    for number in range(1, test_s3_parts.PARTS + 1):
        if number == 5:
            print("waiting", flush=True)
            time.sleep(60)
        yield test_s3_parts.part(number)
open_backend(sys.argv[1]).write(test_s3_parts.KEY, slow(), size=test_s3_parts.SIZE)
"""


def test_after_a_kill_only_missing_parts_are_sent(s3: S3Backend, bucket: str, name: str, seaweed: SeaweedFS) -> None:
    command = [sys.executable, "-c", KILLED, bucket, str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            assert process.stdout.readline() == b"waiting\n"
            (upload,) = uploads(seaweed, name)

            def arrived() -> set[int]:
                listed = seaweed.client().list_parts(Bucket=name, Key=KEY, UploadId=upload)
                return {one["PartNumber"] for one in listed.get("Parts", [])}

            until(lambda: len(arrived()) >= 3)
            there = arrived()
        finally:
            process.send_signal(signal.SIGKILL)
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
