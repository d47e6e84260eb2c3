"""The proxy is faithful when nothing is to go wrong, and each fault is what a client really sees."""

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from faults import (
    Cut,
    Delay,
    Drip,
    Exchange,
    Fault,
    Flip,
    Plan,
    Refuse,
    Reorder,
    Reset,
    Rule,
    Shorten,
    Stall,
    Status,
    Whole,
)
from faulty import Proxy, faulty
from seaweed import ACCESS_KEY, SECRET_KEY, SeaweedFS

KiB = 1024
DATA = bytes(range(256)) * (KiB * 2)  # 512 KiB
BLOCK = b"".join(bytes([number]) * 64 * KiB for number in range(8))


@pytest.fixture
def proxy(seaweed: SeaweedFS) -> Iterator[Proxy]:
    with faulty(seaweed.endpoint) as running:
        yield running


@pytest.fixture
def s3(proxy: Proxy):
    config = Config(
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path"},
        retries={"total_max_attempts": 1},
    )
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY, "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=proxy.endpoint, config=config, **keys)
    yield client
    client.close()


@pytest.fixture
def name(bucket: str) -> str:
    return urlsplit(bucket).netloc


@pytest.fixture
def get(proxy: Proxy, s3, name: str) -> Callable[..., tuple[int, bytes]]:
    """Stores `data`, then reads it as a plain client by a presigned URL; returns status and body."""

    def read(data: bytes = DATA, *, span: str = "", timeout: float = 30) -> tuple[int, bytes]:
        rules = proxy.plan.rules
        proxy.plan.set()
        s3.put_object(Bucket=name, Key="blobs/x", Body=data)
        proxy.plan.set(*rules)
        parts = urlsplit(s3.generate_presigned_url("get_object", Params={"Bucket": name, "Key": "blobs/x"}))
        connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
        try:
            connection.request("GET", f"{parts.path}?{parts.query}", headers={"Range": span} if span else {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    return read


def test_without_a_plan_boto3_sees_no_difference(proxy: Proxy, s3, name: str) -> None:
    s3.put_object(Bucket=name, Key="a", Body=DATA)
    assert s3.get_object(Bucket=name, Key="a")["Body"].read() == DATA
    assert s3.get_object(Bucket=name, Key="a", Range="bytes=5-9")["Body"].read() == DATA[5:10]
    assert s3.head_object(Bucket=name, Key="a")["ContentLength"] == len(DATA)
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=name)["Contents"]] == ["a"]
    s3.delete_object(Bucket=name, Key="a")
    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket=name, Key="a")


def test_a_multipart_upload_goes_through(proxy: Proxy, s3, name: str) -> None:
    part = DATA * 10
    upload = s3.create_multipart_upload(Bucket=name, Key="m")["UploadId"]
    tags = [
        s3.upload_part(Bucket=name, Key="m", UploadId=upload, PartNumber=number, Body=part)["ETag"]
        for number in (1, 2, 3)
    ]
    parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
    s3.complete_multipart_upload(Bucket=name, Key="m", UploadId=upload, MultipartUpload={"Parts": parts})
    assert s3.get_object(Bucket=name, Key="m")["Body"].read() == part * 3
    assert proxy.received(method="PUT", path="partNumber=") == len(part) * 3
    assert proxy.sent(method="GET", path="/m") == len(part) * 3


def test_checksums_and_chunked_bodies_go_through(proxy: Proxy, s3, name: str) -> None:
    url = s3.generate_presigned_url("put_object", Params={"Bucket": name, "Key": "c"})
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    connection.request("PUT", f"{parts.path}?{parts.query}", body=iter([DATA, b"", DATA]), encode_chunked=True)
    assert connection.getresponse().status == 200
    connection.close()
    s3.put_object(Bucket=name, Key="d", Body=DATA, ChecksumAlgorithm="SHA256")
    assert s3.get_object(Bucket=name, Key="c")["Body"].read() == DATA * 2
    assert s3.get_object(Bucket=name, Key="d")["Body"].read() == DATA


def test_the_filer_is_served_as_well(seaweed: SeaweedFS) -> None:
    with faulty(seaweed.filer) as proxy:
        connection = http.client.HTTPConnection(proxy.netloc, timeout=30)
        connection.request("PUT", "/lab/a", body=DATA)
        assert connection.getresponse().read().startswith(b"{")
        connection.request("GET", "/lab/a", headers={"Range": "bytes=5-9"})
        assert connection.getresponse().read() == DATA[5:10]
        proxy.plan.set(Rule(Whole()))
        connection.request("GET", "/lab/a", headers={"Range": "bytes=5-9"})
        assert connection.getresponse().read() == DATA
        connection.close()


def test_one_connection_carries_many_requests(proxy: Proxy, s3, name: str) -> None:
    s3.put_object(Bucket=name, Key="a", Body=b"a")
    parts = urlsplit(s3.generate_presigned_url("get_object", Params={"Bucket": name, "Key": "a"}))
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    connection.connect()
    kept = connection.sock
    for _ in range(3):
        connection.request("GET", f"{parts.path}?{parts.query}")
        assert connection.getresponse().read() == b"a"
    assert connection.sock is kept
    connection.close()


def test_a_request_is_logged_with_its_fate(proxy: Proxy, get) -> None:
    proxy.plan.set(Rule(Shorten(2)))
    get(span="bytes=0-9")
    last = proxy.log[-1]
    assert (last.method, last.range, last.status, last.fault, last.sent) == ("GET", "bytes=0-9", 206, "Shorten", 8)
    assert proxy.count(method="GET", path="/blobs/", fault="Shorten") == 1
    assert proxy.sent(path="/blobs/") == 8


@pytest.mark.parametrize("fault", [Delay(0.3), Drip(1_000_000)])
def test_a_slow_answer_is_right(proxy: Proxy, get, fault: Fault) -> None:
    proxy.plan.set(Rule(fault, method="GET"))
    assert get() == (200, DATA)


def test_who_has_no_patience_gives_up_an_answer_that_is_delayed(proxy: Proxy, get) -> None:
    proxy.plan.set(Rule(Delay(30.0), method="GET"))
    with pytest.raises(TimeoutError):
        get(timeout=0.5)


def test_what_drips_comes_in_pieces_of_a_twentieth_of_a_second() -> None:
    pieces = list(Drip(10_000_000).bend([DATA], len(DATA), Random(0)))
    assert b"".join(pieces) == DATA
    assert {len(piece) for piece in pieces[:-1]} == {500_000}


def test_a_stall_sends_half_and_then_nothing(proxy: Proxy, get) -> None:
    proxy.plan.set(Rule(Stall(), method="GET"))
    with pytest.raises(TimeoutError):
        get(timeout=2)
    assert proxy.sent(method="GET") == len(DATA) // 2


def test_a_cut_is_seen_as_an_incomplete_read(proxy: Proxy, get) -> None:
    proxy.plan.set(Rule(Cut(1000), method="GET"))
    with pytest.raises(http.client.IncompleteRead) as seen:
        get()
    assert seen.value.partial == DATA[:1000]


def test_a_shortened_answer_looks_whole(proxy: Proxy, get) -> None:
    proxy.plan.set(Rule(Shorten(7), method="GET"))
    assert get() == (200, DATA[:-7])


@pytest.mark.parametrize("offset", [None, 0, 300_000, len(DATA) - 1])
def test_a_flip_changes_one_bit(proxy: Proxy, get, offset: int | None) -> None:
    proxy.plan.set(Rule(Flip(offset), method="GET"))
    status, body = get()
    wrong = [at for at in range(len(DATA)) if body[at] != DATA[at]]
    assert (status, len(body), len(wrong)) == (200, len(DATA), 1)
    assert (body[wrong[0]] ^ DATA[wrong[0]]).bit_count() == 1
    assert offset in (None, wrong[0])


def test_a_reorder_swaps_two_pieces(proxy: Proxy, get) -> None:
    proxy.plan.set(Rule(Reorder(), method="GET"))
    piece = 64 * KiB
    assert get(BLOCK) == (200, BLOCK[piece : 2 * piece] + BLOCK[:piece] + BLOCK[2 * piece :])
    assert get(b"abcde") == (200, b"cdabe")


def test_a_range_is_answered_with_the_whole(proxy: Proxy, s3, name: str, get) -> None:
    proxy.plan.set(Rule(Whole(), ranged=True))
    assert get(span="bytes=5-9") == (200, DATA)
    answer = s3.get_object(Bucket=name, Key="blobs/x", Range="bytes=5-9")  # here the range is signed
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert answer["Body"].read() == DATA


@pytest.mark.parametrize(("status", "code"), [(500, "InternalError"), (503, "SlowDown"), (403, "ExpiredToken")])
def test_an_error_is_s3s_own(proxy: Proxy, s3, name: str, status: int, code: str) -> None:
    proxy.plan.set(Rule(Status(status), first=3))
    for call in (s3.get_object, s3.put_object):
        with pytest.raises(ClientError) as seen:
            call(Bucket=name, Key="blobs/x")
        assert seen.value.response["Error"]["Code"] == code
    with pytest.raises(ClientError, match=str(status)):
        s3.head_object(Bucket=name, Key="blobs/x")
    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket=name, Key="blobs/x")


@pytest.mark.parametrize("fault", [Status(500), Reset()])
@pytest.mark.parametrize("carried_out", [False, True])
def test_a_lost_answer_is_not_a_lost_request(proxy: Proxy, s3, name: str, fault: Fault, carried_out: bool) -> None:
    proxy.plan.set(Rule(replace(fault, carried_out=carried_out), method="PUT"))
    with pytest.raises(Exception, match=r"InternalError|Connection"):
        s3.put_object(Bucket=name, Key="a", Body=DATA)
    assert proxy.received(method="PUT") == len(DATA)
    assert s3.list_objects_v2(Bucket=name)["KeyCount"] == carried_out


def test_a_reset_is_heard_as_one(proxy: Proxy, get) -> None:
    proxy.plan.set(Rule(Reset(), method="GET"))
    with pytest.raises(ConnectionResetError):
        get()


def test_a_refused_connection_ends_at_once(proxy: Proxy) -> None:
    proxy.plan.set(Rule(Refuse(), first=1))
    with socket.create_connection(proxy.netloc.split(":"), timeout=30) as connection:
        assert connection.recv(1) == b""
    assert proxy.count() == 0


def test_an_upload_that_is_cut_leaves_no_object(proxy: Proxy, s3, name: str) -> None:
    proxy.plan.set(Rule(Cut(100_000, upload=True), method="PUT", first=1))
    with pytest.raises(Exception, match=r"Connection|closed"):
        s3.put_object(Bucket=name, Key="a", Body=DATA)
    assert s3.list_objects_v2(Bucket=name)["KeyCount"] == 0


def test_a_flip_on_the_way_up_is_stored_or_refused(proxy: Proxy, s3, name: str) -> None:
    proxy.plan.set(Rule(Flip(9, upload=True), method="PUT"))
    parts = urlsplit(s3.generate_presigned_url("put_object", Params={"Bucket": name, "Key": "a"}))
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    connection.request("PUT", f"{parts.path}?{parts.query}", body=DATA)
    assert connection.getresponse().status == 200
    connection.close()
    stored = s3.get_object(Bucket=name, Key="a")["Body"].read()
    assert stored[:9] + stored[10:] == DATA[:9] + DATA[10:]
    assert (stored[9] ^ DATA[9]).bit_count() == 1


def test_rules_choose_by_method_path_range_and_count() -> None:
    plan = Plan(Rule(Reset(), method="GET", path="/blobs/", ranged=True, nth=2), Rule(Delay(1), path="x", first=1))
    asked = [Exchange("GET", "/blobs/a", "bytes=0-1"), Exchange("PUT", "/blobs/a"), Exchange("GET", "/x")]
    assert [plan.pick(each)[0].name for each in asked * 2] == ["", "", "Delay", "Reset", "", ""]


def test_chance_does_not_depend_on_threads() -> None:
    spans = [f"bytes={number}-" for number in range(1000)]

    def fated(order: list[str], seed: int) -> set[str]:
        plan = Plan(Rule(Reset(), rate=0.1), seed=seed)
        return {span for span in order if plan.pick(Exchange("GET", "/a?signed=1", span))[0].name}

    assert fated(spans, 1) == fated(spans[::-1], 1) != fated(spans, 2)
    assert 50 < len(fated(spans, 1)) < 150


def test_closing_ends_a_stall(seaweed: SeaweedFS, name: str) -> None:
    with faulty(seaweed.endpoint) as proxy:
        proxy.plan.set(Rule(Stall()))
        connection = socket.create_connection(proxy.netloc.split(":"), timeout=30)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        ended = threading.Event()

        def read() -> None:
            while connection.recv(KiB):
                pass
            ended.set()

        reader = threading.Thread(target=read)
        reader.start()
        time.sleep(0.2)
    reader.join(30)
    assert ended.is_set()
    connection.close()
