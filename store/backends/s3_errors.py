"""What an S3 server's refusals mean here, whether botocore tells of them or the server's own XML does."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import unescape

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigNotFound,
    ConfigParseError,
    CredentialRetrievalError,
    NoAuthTokenError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from urllib3.exceptions import HTTPError

from ..errors import BucketNotFound, InvalidUrl, KeyNotFound, NoSpace, Refused, StoreError, Unreachable
from .wire import Answer

_ABSENT = ("NoSuchKey", "404", "NotFound")
_FULL = ("QuotaExceeded", "InsufficientStorage", "XAmzQuotaExceeded")
# The upload, or a part of it, is not what it was a moment ago: another writer of the same key was at work.
_GONE = ("NoSuchUpload", "InvalidPart", "InvalidPartOrder")
_BUSY = ("SlowDown", "RequestTimeout", "RequestTimeoutException", "Throttling", "ThrottlingException")
_CREDENTIALS = (
    ConfigNotFound,
    ConfigParseError,
    CredentialRetrievalError,
    NoAuthTokenError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
_CREDENTIALS_HINT = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
_HINTS = {
    "ExpiredToken": "the session token has expired: get a new one",
    "RequestTimeTooSkewed": "set this machine's clock",
    "PermanentRedirect": "add region=NAME to the store URL",
    "AuthorizationHeaderMalformed": "add region=NAME to the store URL",
}


class UploadGone(Unreachable):
    """Another writer completed or aborted the upload. Never leaves the backend."""


@contextmanager
def translated(url: str, *, key: str = "") -> Iterator[None]:
    """Turns botocore's errors into the store's, about the store at `url` and the object `key`."""
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        raise _refusal(url, key, code=code, status=status, message=_line(error)) from error
    except _CREDENTIALS as error:
        raise Refused(f"no credentials for {url}: {_line(error)}", hint=_CREDENTIALS_HINT) from error
    except (ParamValidationError, ValueError) as error:
        raise InvalidUrl(f"cannot use {url}: {_line(error)[:120]}") from error
    except (BotoCoreError, HTTPError, OSError) as error:
        raise Unreachable(f"cannot reach {url}: {_line(error)}", hint="check the endpoint and the network") from error


def declined(answer: Answer, url: str, *, key: str) -> StoreError:
    """The error that a server's answer to a read means; its text holds nothing of the address that was asked."""
    code = _field(answer, "Code") or str(answer.status)
    message = _field(answer, "Message") or f"HTTP {answer.status}"
    return _refusal(url, key, code=code, status=answer.status, message="" if "X-Amz-" in message else message)


def region_of(answer: Answer) -> str | None:
    """The region that a server says the bucket lies in, when it was asked as if in another."""
    headers: Mapping[str, str] = {name.lower(): value for name, value in answer.headers.items()}
    return (headers.get("x-amz-bucket-region") or _field(answer, "Region") or None) if answer.status < 404 else None


def _refusal(url: str, key: str, *, code: str, status: int, message: str) -> StoreError:
    if code == "NoSuchBucket" or (code in _ABSENT and not key):
        return BucketNotFound(f"no bucket at {url}", hint="create the bucket, or check the store URL")
    if code in _ABSENT:
        return KeyNotFound(f"no object {key} in {url}")
    if code in _GONE:
        return UploadGone(f"the upload of {key} to {url} was ended by another ({code})", hint="put it again")
    if code in _FULL or status == 507:
        return NoSpace(f"{url} has no space left ({code})")
    if status >= 500 or status == 429 or code in _BUSY:
        return Unreachable(f"{url} fails ({code}, HTTP {status})", hint="try again later")
    hint = _HINTS.get(code) or (_CREDENTIALS_HINT if status in (401, 403) else "check the store URL")
    return Refused(f"{url} refused ({code}): {message}".rstrip(": "), hint=hint)


def _field(answer: Answer, name: str) -> str:
    # Three flat fields need no XML parser, and a server's answer is not to be trusted with one.
    found = re.search(rf"<{name}>([^<]{{1,300}})</{name}>", answer.body.decode(errors="replace"))
    return " ".join(unescape(found[1]).split()) if found else ""


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
