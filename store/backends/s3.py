"""A bucket behind the S3 protocol: AWS, SeaweedFS and their kin. The only door to boto3."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from ..closing import Closing
from .base import Properties, Stat
from .s3_errors import translated

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, GetObjectRequestTypeDef

PART_SIZE = 8 * 1024 * 1024  # a block, so that a put sends the bytes it hashed without copying them
MAX_PARTS = 10_000  # S3's limit
IN_FLIGHT = 4
CHUNK = 1024 * 1024
CONNECT_SECONDS = 5
READ_SECONDS = 60
ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class S3Location:
    """Where a store lies: a bucket, a prefix in it, and which server and region if not AWS's own choice."""

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None

    @property
    def url(self) -> str:
        """The location as a store URL."""
        query = [f"{name}={value}" for name, value in (("endpoint", self.endpoint), ("region", self.region)) if value]
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/") + ("?" + "&".join(query) if query else "")


class S3Backend(Closing):
    """A bucket reached with the credentials boto3 finds (environment, profile, instance role)."""

    def __init__(self, location: S3Location) -> None:
        self.properties = Properties(url=location.url)
        self._bucket = location.bucket
        self._prefix = f"{location.prefix}/" if location.prefix else ""
        self._ahead: float | None = None
        with translated(location.url):
            self._client = _client(location)
        self._client.meta.events.register("after-call.s3", self._note_date)

    def close(self) -> None:
        """See Backend."""
        self._client.close()

    def stat(self, key: str) -> Stat:
        """See Backend."""
        with self._errors(key):
            head = self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
        return Stat(key, head["ContentLength"], head["LastModified"].timestamp())

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See Backend."""
        if length == 0:
            self.stat(key)
            return
        request: GetObjectRequestTypeDef = {"Bucket": self._bucket, "Key": self._prefix + key}
        if start or length is not None:
            request["Range"] = f"bytes={start}-{'' if length is None else start + length - 1}"
        with self._errors(key):
            answer = self._client.get_object(**request)
            with closing(answer["Body"]) as body:
                yield from body.iter_chunks(CHUNK)

    def write(self, key: str, chunks: Iterable[bytes], *, size: int) -> None:
        """See Backend."""
        with self._errors(key):
            if size <= PART_SIZE:
                body = b"".join(chunks)
                self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=body)
            else:
                self._write_parts(self._prefix + key, chunks, part_size=part_size(size))

    def list(self, prefix: str, *, after: str = "") -> Iterator[Stat]:
        """See Backend."""
        start = self._prefix + after if after else ""
        with self._errors(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix, StartAfter=start
            )
            for page in pages:
                for found in page.get("Contents", ()):
                    key = found["Key"].removeprefix(self._prefix)
                    yield Stat(key, found["Size"], found["LastModified"].timestamp())

    def delete(self, key: str) -> None:
        """See Backend."""
        with self._errors(key):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def clock(self) -> float:
        """See Backend. Read from the Date header of the last answer, good to a second."""
        if self._ahead is None:
            with self._errors(""):
                self._client.head_bucket(Bucket=self._bucket)
        return time.time() + (self._ahead or 0.0)

    def _errors(self, key: str) -> Any:
        return translated(self.properties.url, key=key)

    def _note_date(self, parsed: dict[str, Any], **_: Any) -> None:
        date = parsed.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        if date:
            self._ahead = parsedate_to_datetime(date).timestamp() - time.time()

    def _write_parts(self, key: str, chunks: Iterable[bytes], *, part_size: int) -> None:
        with ThreadPoolExecutor(1, thread_name_prefix="upload") as thread:
            # On a thread, so that Ctrl-C during the call does not lose the id of the upload it made.
            made = thread.submit(self._client.create_multipart_upload, Bucket=self._bucket, Key=key)
            try:
                upload = made.result()["UploadId"]
                parts = self._send_parts(key, upload, _rows(chunks, part_size))
            except BaseException:
                # Parts in flight have ended by now. An abort that fails leaves parts that the bucket's
                # lifecycle rule removes; the object itself was never completed.
                with suppress(ClientError, BotoCoreError, HTTPClientError):
                    self._client.abort_multipart_upload(
                        Bucket=self._bucket, Key=key, UploadId=made.result()["UploadId"]
                    )
                raise
        self._client.complete_multipart_upload(
            Bucket=self._bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
        )

    def _send_parts(self, key: str, upload: str, rows: Iterator[bytes]) -> "tuple[CompletedPartTypeDef, ...]":
        def send(number: int, body: bytes) -> "CompletedPartTypeDef":
            answer = self._client.upload_part(
                Bucket=self._bucket, Key=key, UploadId=upload, PartNumber=number, Body=body
            )
            return {"ETag": answer["ETag"], "PartNumber": number}

        with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="upload") as threads:
            sent: list[Future[CompletedPartTypeDef]] = []
            running: set[Future[CompletedPartTypeDef]] = set()
            for number, body in enumerate(rows, 1):
                # Memory holds the parts in flight and the one being filled, whatever the size of the blob.
                if len(running) == IN_FLIGHT:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
                sent.append(threads.submit(send, number, body))
                running.add(sent[-1])
            return tuple(future.result() for future in sent)


def part_size(size: int) -> int:
    """Bytes in a part of an object of `size` bytes: few enough parts for S3, small enough for memory."""
    blocks = -(-size // (MAX_PARTS * PART_SIZE))
    return max(blocks, 1) * PART_SIZE


def _rows(chunks: Iterable[bytes], part_size: int) -> Iterator[bytes]:
    waiting: list[bytes] = []
    for chunk in chunks:
        waiting.append(chunk)
        while sum(map(len, waiting)) >= part_size:
            row = waiting[0] if len(waiting) == 1 else b"".join(waiting)
            yield row if len(row) == part_size else row[:part_size]
            waiting = [row[part_size:]] if len(row) > part_size else []
    if waiting:
        yield b"".join(waiting)


def _client(location: S3Location) -> "S3Client":
    config = Config(
        # Checksum trailers were stored inside objects by some servers (seaweedfs#6548).
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if location.endpoint else "auto"},
        retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        max_pool_connections=2 * IN_FLIGHT,
    )
    session = boto3.session.Session()
    # A server of one's own has no regions; signatures need some name all the same.
    region = location.region or session.region_name or ("us-east-1" if location.endpoint else None)
    return session.client("s3", endpoint_url=location.endpoint, region_name=region, config=config)
