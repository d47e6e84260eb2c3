"""What botocore's errors mean here."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)
from urllib3.exceptions import HTTPError

from ..errors import BucketNotFound, InvalidUrl, KeyNotFound, NoSpace, Refused, StoreError, Unreachable

_ABSENT = ("NoSuchKey", "404", "NotFound")
_FULL = ("QuotaExceeded", "InsufficientStorage", "XAmzQuotaExceeded")
_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, ProfileNotFound, TokenRetrievalError)
_CREDENTIALS_HINT = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"


@contextmanager
def translated(url: str, *, key: str = "") -> Iterator[None]:
    """Turns botocore's errors into the store's, about the store at `url` and the object `key`."""
    try:
        yield
    except ClientError as error:
        raise _answered(error, url, key) from error
    except _CREDENTIALS as error:
        raise Refused(f"no credentials for {url}: {_line(error)}", hint=_CREDENTIALS_HINT) from error
    except (ParamValidationError, ValueError) as error:
        raise InvalidUrl(f"cannot use {url}: {_line(error)[:120]}") from error
    except (BotoCoreError, HTTPError, OSError) as error:
        raise Unreachable(f"cannot reach {url}: {_line(error)}", hint="check the endpoint and the network") from error


def _answered(error: ClientError, url: str, key: str) -> StoreError:
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == "NoSuchBucket" or (code in _ABSENT and not key):
        return BucketNotFound(f"no bucket at {url}", hint="create the bucket, or check the store URL")
    if code in _ABSENT:
        return KeyNotFound(f"no object {key} in {url}")
    if code in _FULL or status == 507:
        return NoSpace(f"{url} has no space left ({code})")
    if status >= 500 or status == 429:
        return Unreachable(f"{url} fails ({code}, HTTP {status})", hint="try again later")
    hint = _CREDENTIALS_HINT if status in (401, 403) else "check the store URL"
    return Refused(f"{url} refused ({code}): {_line(error)}", hint=hint)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
