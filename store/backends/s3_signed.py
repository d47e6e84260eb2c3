"""Addresses that let their holder read an object of an S3 server of one's own.

They are what boto3 would make, signed by botocore, without the client that boto3 builds first: that takes longer than
fetching 200 MB. https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

from typing import TYPE_CHECKING
from urllib.parse import quote

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import NoCredentialsError

if TYPE_CHECKING:
    from botocore.session import Session

SECONDS = 3600


class Signer:
    """Signs for the bucket at `root`, a URL in path style, with the credentials `session` finds, or with none."""

    def __init__(self, root: str, *, session: "Session", region: str, anonymous: bool) -> None:
        self._root = root
        self._session = session
        self._region = region
        self._anonymous = anonymous

    def url(self, method: str, key: str) -> str:
        """The address of an object for one HTTP method, good for an hour; raises NoCredentialsError."""
        address = f"{self._root}/{quote(key)}"
        if self._anonymous:
            return address
        credentials = self._session.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        request = AWSRequest(method, address)
        S3SigV4QueryAuth(credentials, "s3", self._region, expires=SECONDS).add_auth(request)
        return str(request.url)
