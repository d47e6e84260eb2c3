"""A bucket behind the S3 protocol: AWS, SeaweedFS and their kin. The only door to boto3."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import botocore.session

from ..closing import Closing
from ..errors import Refused, SourceChanged
from . import pipeline
from .base import Properties, Stat
from .s3_errors import declined, region_of, translated
from .s3_parts import IN_FLIGHT, PART_SIZE, Goal, PartedWrite, part_size
from .s3_signed import SECONDS, Signer
from .wire import Answer, Declined, Wire, whole_size

if TYPE_CHECKING:
    from botocore.config import Config
    from mypy_boto3_s3.client import S3Client

__all__ = ["PART_SIZE", "S3Backend", "S3Location", "part_size"]

CONNECT_SECONDS = 5
READ_SECONDS = 30
ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class S3Location:
    """Where a store lies and how it is reached: the options of its URL (docs/backends.md). None of it is secret."""

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    style: str | None = None
    profile: str | None = None
    anonymous: bool = False
    ca: str | None = None

    @property
    def url(self) -> str:
        """The location as a store URL."""
        options = {
            "endpoint": self.endpoint,
            "region": self.region,
            "style": self.style,
            "profile": self.profile,
            "anonymous": "1" if self.anonymous else None,
            "ca": self.ca,
        }
        query = "&".join(f"{name}={quote(value, safe='/:[]')}" for name, value in options.items() if value)
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/") + (f"?{query}" if query else "")


class S3Backend(Closing):
    """A bucket reached with the credentials boto3 finds (environment, profile, instance role), or with none.

    Reads go over a wire of our own, each to a signed URL: botocore's streams cost four times the work. boto3 itself is
    loaded when something else is asked for.
    """

    def __init__(self, location: S3Location) -> None:
        self.properties = Properties(url=location.url)
        self._location = location
        self._bucket = location.bucket
        self._prefix = f"{location.prefix}/" if location.prefix else ""
        self._ahead: float | None = None
        self._lock = Lock()
        self._opened: S3Client | None = None
        with self._errors(""):
            self._session = botocore.session.Session(profile=location.profile)
            # The wire must trust the certificates that boto3 trusts.
            self._ca = location.ca or self._session.get_config_variable("ca_bundle")
            self._endpoint = location.endpoint or _configured_endpoint(self._session)
            self._style = location.style or _configured_style(self._session)
            # A server of one's own has no regions; signatures need some name all the same.
            own = "us-east-1" if self._endpoint else None
            self._region = location.region or self._session.get_config_variable("region") or own
            self._regions = {self._region}

    def close(self) -> None:
        """See Backend."""
        if self._opened:
            self._opened.close()
        if "_wire" in self.__dict__:
            self._wire.close()

    def stat(self, key: str) -> Stat:
        """See Backend."""
        answer = self._wire.ask("HEAD", self._signed("HEAD", key))
        if answer.status != 200:
            if self._moved(answer):
                return self.stat(key)
            raise declined(answer, self.properties.url, key=key)
        try:
            if whole_size(answer) is None:  # what stands before the server has taken it away
                answer = self._wire.first_byte(self._signed("GET", key))
            modified = parsedate_to_datetime(answer.headers["Last-Modified"]).timestamp()
        except Declined as error:
            raise declined(error.answer, self.properties.url, key=key) from None
        except (KeyError, ValueError):
            modified = None
        size = whole_size(answer)
        if size is None or modified is None:
            # To ask again would bring the same.
            raise Refused(f"{self.properties.url} answered for {key} as no S3 server does", hint="check the endpoint")
        return Stat(key, size, modified)

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See Backend."""
        if length == 0:
            self.stat(key)
            return
        try:
            with closing(self._wire.read(self._signed("GET", key), start=start, length=length)) as pieces:
                for piece in pieces:
                    if not self._wire.ranges and self.properties.ranges:
                        self.properties = replace(self.properties, ranges=False)
                    yield piece
        except Declined as error:
            if not self._moved(error.answer):
                raise declined(error.answer, self.properties.url, key=key) from None
            yield from self.read(key, start=start, length=length)

    def read_together(self, stats: Sequence[Stat]) -> list[bytes | None]:
        """Many small objects at once; None for each that has to be read by itself (see pipeline.py)."""
        if not pipeline.usable(self._endpoint or ""):
            return [None] * len(stats)
        return pipeline.fetch([pipeline.Asked(self._signed("GET", stat.key), stat.size) for stat in stats])

    def write(self, key: str, chunks: Iterable[bytes], *, size: int) -> None:
        """See Backend. Above one part, what an earlier write of the same bytes left unfinished is resumed."""
        if size > PART_SIZE:
            goal = Goal(self._bucket, self._prefix + key, size, self.properties.url)
            PartedWrite(self._client, goal).run(chunks)
            return
        body = b"".join(chunks)
        if len(body) != size:
            raise SourceChanged(f"{len(body)} of {size} bytes came for {key}", hint="put it again")
        with self._errors(key):
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=body)

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

    @property
    def _client(self) -> "S3Client":
        with self._lock:
            self._opened = self._opened or self._open()
            return self._opened

    def _open(self) -> "S3Client":
        import boto3

        with self._errors(""):
            client = boto3.session.Session(botocore_session=self._session).client(
                "s3",
                endpoint_url=self._endpoint,
                region_name=self._region,
                verify=self._ca,
                config=self._config(),
            )
        client.meta.events.register("after-call.s3", self._note_date)
        return client

    @cached_property
    def _wire(self) -> Wire:
        from botocore.httpsession import get_cert_path

        address = self._endpoint or self._client.meta.endpoint_url
        return Wire(address, ca=self._ca or get_cert_path(True))

    @property
    def _signer(self) -> Signer | None:
        """None where boto3 must say what the address is: it knows AWS's hosts, and which names can be part of one."""
        if not self._endpoint or self._style == "virtual":
            return None
        root = f"{self._endpoint.rstrip('/')}/{self._bucket}"
        return Signer(root, session=self._session, region=self._region or "", anonymous=self._location.anonymous)

    def _signed(self, method: str, key: str) -> str:
        # An address that lets its holder read: it goes to the wire and into no message.
        with self._errors(key):
            if self._signer:
                return self._signer.url(method, self._prefix + key)
            params = {"Bucket": self._bucket, "Key": self._prefix + key}
            return self._client.generate_presigned_url(f"{method.lower()}_object", Params=params, ExpiresIn=SECONDS)

    def _config(self) -> "Config":
        from botocore import UNSIGNED
        from botocore.config import Config

        return Config(
            # Checksum trailers were stored inside objects by some servers (seaweedfs#6548).
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            signature_version=UNSIGNED if self._location.anonymous else "s3v4",
            s3={  # type: ignore[arg-type]
                # Not "auto": that signs addresses for AWS's global host, which redirects. A bucket whose name is none
                # for a host is named in the path all the same.
                "addressing_style": self._style or ("path" if self._endpoint else "virtual"),
                # A hash over every byte sent, which readers do not rely on: they have a better one.
                "payload_signing_enabled": False,
            },
            retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            max_pool_connections=2 * IN_FLIGHT,
        )

    def _moved(self, answer: Answer) -> bool:
        # As boto3 does for its own requests: the bucket lies in another region than the signature said. Once for each
        # region, whatever a confused server goes on naming.
        region = None if self._location.region else region_of(answer)
        if region is None or region in self._regions:
            return False
        self._region = region
        self._regions.add(region)
        with self._lock:
            self._opened = None
        return True

    def _errors(self, key: str) -> AbstractContextManager[None]:
        return translated(self.properties.url, key=key)

    def _note_date(self, parsed: dict[str, Any], **_: Any) -> None:
        date = parsed.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        if date:
            self._ahead = parsedate_to_datetime(date).timestamp() - time.time()


def _configured_endpoint(session: botocore.session.Session) -> str | None:
    """The endpoint that environment or profile name, in the order in which AWS's own tools look.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
    """
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    profile = session.get_scoped_config()
    services = session.full_config.get("services", {}).get(profile.get("services", ""), {})
    found = (
        os.environ.get("AWS_ENDPOINT_URL_S3"),
        os.environ.get("AWS_ENDPOINT_URL"),
        services.get("s3", {}).get("endpoint_url"),
        profile.get("endpoint_url"),
    )
    return next(filter(None, found), None)


def _configured_style(session: botocore.session.Session) -> str | None:
    options = session.get_scoped_config().get("s3")
    style = options.get("addressing_style") if isinstance(options, dict) else None
    return style if style in ("path", "virtual") else None
