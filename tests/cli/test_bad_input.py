"""Bad input gets one clear line and the right exit code, loses nothing, and shows no traceback."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import gguf
import numpy as np
import pytest
from seaweed import SeaweedFS

from llstore.store import Role

Command = Callable[..., subprocess.CompletedProcess[str]]
Put = Callable[..., str]

ABSENT = "ab" * 32


def refused(answer: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """One line on stderr that holds `words`, and the exit code."""
    assert answer.returncode == code, answer.stderr
    assert len(answer.stderr.splitlines()) == 1, answer.stderr
    assert answer.stderr.startswith("llstore: ")
    for word in words:
        assert word in answer.stderr
    assert answer.stdout == ""


def test_a_missing_file(llstore: Command, tmp_path: Path) -> None:
    refused(llstore("put", tmp_path / "absent.gguf"), 3, "no file", "absent.gguf")


def test_a_folder_without_a_model(llstore: Command, tmp_path: Path) -> None:
    refused(llstore("put", tmp_path), 3, "no GGUF file in")


def test_an_empty_file(llstore: Command, tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").touch()
    refused(llstore("put", tmp_path / "empty.gguf"), 7, "is empty")
    refused(llstore("put", tmp_path / "empty.gguf", "--role", "other"), 7, "is empty")


def test_a_file_that_is_not_gguf(llstore: Command, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("just text")
    refused(llstore("put", tmp_path / "note.txt"), 7, "is not a GGUF file", "--role other")
    assert llstore("put", tmp_path / "note.txt", "--role", "other").returncode == 0


def test_a_truncated_gguf(llstore: Command, tmp_path: Path, smollm2: Path) -> None:
    with smollm2.open("rb") as file:
        (tmp_path / "cut.gguf").write_bytes(file.read(50_000_000))
    refused(llstore("put", tmp_path / "cut.gguf"), 7, "cut short", "98362432", "50000000")
    assert llstore("list").stdout == ""


@pytest.mark.parametrize("word", ["get", "show", "run"])
def test_a_digest_that_is_not_there(llstore: Command, bucket: str, word: str) -> None:
    flags = ("-p", "hi") if word == "run" else ()
    refused(llstore(word, ABSENT, *flags), 3, "no model", ABSENT)
    refused(llstore(word, ABSENT, *flags, "--store", bucket), 3, "no model", ABSENT)
    refused(llstore(word, ABSENT[:10], *flags, "--store", bucket), 3, "no model")
    refused(llstore(word, "team/none", *flags, "--store", bucket), 3, "no model", "team/none:latest")


@pytest.mark.parametrize("ref", ["sha256:" + "a" * 63, "a" * 65, "sha256:" + "a" * 65, "team/x@sha256:abc"])
def test_a_digest_of_the_wrong_length(llstore: Command, ref: str) -> None:
    refused(llstore("get", ref), 2, "64 hex digits")


def test_a_name_without_a_slash(llstore: Command, tiny: Path) -> None:
    refused(llstore("get", "chat"), 2, "needs a '/'")
    refused(llstore("put", tiny, "--name", "chat"), 2, "needs a '/'", "team/chat")


def test_a_label_without_a_value(llstore: Command, tiny: Path) -> None:
    refused(llstore("put", tiny, "--label", "stage"), 2, "KEY=VALUE")
    refused(llstore("put", tiny, "--label", os.fsdecode(b"stage=\xff")), 2, "printable")


def test_an_unreachable_endpoint(llstore: Command, tiny: Path) -> None:
    refused(llstore("put", tiny, "--store", "s3://bucket?endpoint=http://127.0.0.1:1"), 5, "cannot reach")


def test_wrong_credentials(llstore: Command, tiny: Path, bucket: str) -> None:
    refused(llstore("put", tiny, "--store", bucket, AWS_SECRET_ACCESS_KEY="wrong"), 5, "refused")
    refused(llstore("list", "--store", bucket, AWS_ACCESS_KEY_ID="nobody"), 5, "refused", "AWS_")


def test_no_credentials(llstore: Command, bucket: str, tmp_path: Path) -> None:
    nothing = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}
    files = {"AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    refused(llstore("list", "--store", bucket, **nothing, **files), 5, "credentials", "AWS_PROFILE")


def test_a_bucket_that_does_not_exist_is_not_made(llstore: Command, tiny: Path, seaweed: SeaweedFS) -> None:
    for word in (["put", tiny], ["list"], ["get", ABSENT], ["get", "team/x"]):
        refused(llstore(*word, "--store", seaweed.url("no-such-bucket")), 3, "no bucket")
    assert "no-such-bucket" not in {found["Name"] for found in seaweed.client().list_buckets()["Buckets"]}


@pytest.mark.parametrize("url", ["nonsense", "ftp://x/y", "s3://bucket?endpoint=nowhere", "file://relative"])
def test_a_store_url_that_is_none(llstore: Command, url: str) -> None:
    assert llstore("list", "--store", url).returncode == 2


@pytest.mark.parametrize("word", ["list", "doctor"])
def test_a_store_url_with_credentials_is_refused_and_not_repeated(llstore: Command, word: str) -> None:
    for url in ("s3://key:secret@bucket", "s3://bucket?endpoint=http://key:secret@host"):
        answer = llstore(word, "--store", url)
        refused(answer, 2, "credentials")
        assert "secret" not in answer.stderr


def test_a_tampered_object(  # noqa: PLR0913 (fixtures)
    llstore: Command, put: Put, tiny: Path, bucket: str, seaweed: SeaweedFS, home: Path
) -> None:
    digest = put(tiny, url=bucket).removeprefix("sha256:")
    data = bytearray(tiny.read_bytes())
    data[-1] ^= 1
    seaweed.client().put_object(
        Bucket=urlsplit(bucket).netloc, Key=f"blobs/sha256/{digest[:2]}/{digest}", Body=bytes(data)
    )
    refused(llstore("get", digest, "--store", bucket), 4, "wrong bytes", digest, "their digest is", "block is 0")
    assert not [path for path in (home / "cache").rglob("*") if path.is_file() and path.read_bytes() == bytes(data)]
    assert not list((home / "cache/partial").glob("*.part"))


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own; tests that need one say why they cannot run where none can be mounted."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk(llstore: Command, put: Put, tmp_path: Path, bucket: str, mounted: Path) -> None:
    (tmp_path / "big").write_bytes(os.urandom(3_000_000))
    digest = put(tmp_path / "big", role=Role.OTHER, url=bucket)
    full = str(mounted / "home")
    refused(llstore("get", digest, "--store", bucket, LLSTORE_HOME=full), 6, "no space left", "LLSTORE_HOME")
    refused(llstore("put", tmp_path / "big", "--role", "other", LLSTORE_HOME=full), 6, "no space left")
    refused(llstore("get", digest, "-o", mounted / "out", "--store", bucket), 6, "no space left")
    assert not [path for path in mounted.rglob("*") if path.is_file() and path.stat().st_size > 200_000]


def test_a_read_only_cache_folder(llstore: Command, put: Put, tiny: Path, bucket: str, mounted: Path) -> None:
    digest = put(tiny, name="team/tiny", url=bucket)
    read_only = {"LLSTORE_HOME": str(mounted / "home"), "LLSTORE_STORE": bucket}
    cached = llstore("get", "team/tiny", **read_only).stdout
    subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
    for words in ([digest], [digest, "--offline"], ["team/tiny"], ["team/tiny", "--offline"], [digest[7:15]]):
        assert llstore("get", *words, **read_only).stdout == cached
    assert "team/tiny" in llstore("list", **read_only).stdout
    refused(llstore("get", ABSENT, **read_only), 3, "no model")
    (mounted.parent / "note").write_text("another")
    other = put(mounted.parent / "note", role=Role.OTHER, url=bucket)
    refused(llstore("get", other, **read_only), 1, "read-only file system")


def test_an_existing_file_at_o_is_kept_unless_forced(llstore: Command, put: Put, tiny: Path, tmp_path: Path) -> None:
    digest = put(tiny)
    target = tmp_path / "out.gguf"
    target.write_text("precious")
    for flags in ((), ("--link",)):
        refused(llstore("get", digest, "-o", target, *flags), 1, "exists and was kept", "--force")
        assert target.read_text() == "precious"
    for flags in ((), ("--link",), ("--link",)):
        assert llstore("get", digest, "-o", target, "--force", *flags).returncode == 0
        assert target.read_bytes() == tiny.read_bytes()
    assert not list(tmp_path.glob(".*.part"))
    # After --link the cached file has a new ctime, and must still be a hit.
    assert json.loads(llstore("get", digest, "--json").stdout)["from_cache"] is True


def test_a_folder_that_is_not_there_at_o(llstore: Command, put: Put, tiny: Path, tmp_path: Path) -> None:
    digest = put(tiny)
    refused(llstore("get", digest, "-o", tmp_path / "no/where"), 1, "no folder")
    refused(llstore("get", digest, "-o", tmp_path), 1, "is a folder")


def test_nothing_is_not_asked(llstore: Command) -> None:
    refused(llstore("run", "no/such", "-p", ""), 2, "the prompt is empty")
    refused(llstore("run", "no/such", "-p", "-"), 2, "the prompt is empty")


def test_a_file_that_is_not_there(llstore: Command) -> None:
    refused(llstore("run", "no/such", "-p", "hi", "--grammar", "absent.gbnf"), 3, "--grammar: no file absent.gbnf")


def test_only_weights_are_run(llstore: Command, put: Put, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("not a model")
    digest = put(tmp_path / "note", role=Role.LICENSE)
    refused(llstore("run", digest, "-p", "hi"), 7, "license")
    refused(llstore("show", digest, "--fit"), 7, "license")


def test_what_is_not_to_be_run_is_not_fetched_either(llstore: Command, put: Put, tmp_path: Path, bucket: str) -> None:
    (tmp_path / "note").write_text("not a model")
    digest = put(tmp_path / "note", role=Role.LICENSE, url=bucket)
    refused(llstore("run", digest, "-p", "hi", "--store", bucket), 7, "license")
    assert json.loads(llstore("cache", "list", "--json").stdout)["blobs"] == []


def test_a_gguf_that_llama_cpp_cannot_load(llstore: Command, put: Put, tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "odd.gguf", "no-such-architecture")
    writer.add_tensor("one", np.zeros(32, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    digest = put(tmp_path / "odd.gguf")
    refused(llstore("run", digest, "-p", "hi"), 7, "is not safe to load", "--unchecked")
    refused(llstore("run", digest, "-p", "hi", "--unchecked"), 1, "no-such-architecture")


def test_settings_of_the_run_out_of_range(llstore: Command, put: Put, tiny: Path) -> None:
    put(tiny, name="t/t")
    refused(llstore("run", "t/t", "-p", "hi", "--temperature", "-1"), 2, "temperature")
    refused(llstore("run", "t/t", "-p", "hi", "--max-tokens", "0"), 2, "max_tokens")
    refused(llstore("run", "t/t", "-p", "x" * 2000), 2, "tokens", "512")
    refused(llstore("run", "t/t", "-p", "hi", "--raw", "--system", "s"), 2, "--raw")
    refused(llstore("run", "t/t"), 2, "--prompt")
    refused(llstore("nonsense"), 2, "nonsense")


def test_a_closed_stdin_and_one_that_is_not_text(llstore: Command, put: Put, tiny: Path, home: Path) -> None:
    put(tiny, name="t/t")
    command = f"{sys.executable} -m llstore.cli run t/t -p -"
    for shell in (f"{command} <&-", f"printf '\\377\\376' | {command}"):
        environment = {**os.environ, "LLSTORE_HOME": str(home)}
        answer = subprocess.run(shell, shell=True, env=environment, capture_output=True, text=True)
        refused(answer, 2, "stdin")


def test_a_closed_stderr_changes_nothing(llstore: Command, put: Put, tiny: Path, home: Path) -> None:
    digest = put(tiny, name="t/t") + "\n"
    for words, code, printed in (
        (f"put {tiny}", 0, digest),
        ("get t/no", 3, ""),
        ("get t/t --nonsense", 2, ""),
        ("fsck", 0, ""),
    ):
        for closed in ("2>&-", "2>/dev/full", "<&- 2>&-"):
            shell = f"{sys.executable} -m llstore.cli {words} {closed}"
            environment = {**os.environ, "LLSTORE_HOME": str(home)}
            answer = subprocess.run(["bash", "-c", shell], env=environment, stdout=subprocess.PIPE, text=True)
            assert (answer.returncode, answer.stdout) == (code, printed), shell


def test_an_output_that_takes_no_more(llstore: Command, put: Put, tiny: Path, home: Path) -> None:
    put(tiny, name="t/t")
    for words, code in (
        ("get t/t --json >/dev/full", 6),
        ("list >/dev/full", 6),
        ("list >&-", 0),
    ):
        shell = f"{sys.executable} -m llstore.cli {words}"
        environment = {**os.environ, "LLSTORE_HOME": str(home)}
        answer = subprocess.run(["bash", "-c", shell], env=environment, capture_output=True, text=True)
        assert answer.returncode == code, (words, answer.stderr)
        assert "Traceback" not in answer.stderr
        assert "fault" not in answer.stderr
        assert len(answer.stderr.splitlines()) <= 1


def test_a_device_is_never_replaced(llstore: Command, put: Put, tiny: Path, tmp_path: Path) -> None:
    digest = put(tiny)
    os.mkfifo(tmp_path / "pipe")
    for flags in ((), ("--force",), ("--force", "--link")):
        refused(llstore("get", digest, "-o", tmp_path / "pipe", *flags), 1, "not a regular file")
    assert (tmp_path / "pipe").is_fifo()


def test_a_home_that_is_a_file(llstore: Command, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for words in (["list"], ["put", tiny], ["get", ABSENT]):
        refused(llstore(*words, LLSTORE_HOME=str(tmp_path / "file")), 1, "not a directory")


def test_a_name_too_long_for_the_system(llstore: Command, put: Put, tiny: Path, tmp_path: Path) -> None:
    digest = put(tiny)
    refused(llstore("get", digest, "-o", tmp_path / ("x" * 300)), 1, "file name too long")
    refused(llstore("put", tiny, "--name", "t/" + "x" * 300), 2, "not a name")
    refused(llstore("put", tiny, "--name", ""), 2, "name")


def test_no_words_at_all_print_the_help(llstore: Command) -> None:
    answer = llstore()
    assert (answer.returncode, answer.stderr) == (2, "")
    assert "Commands:" in answer.stdout


@pytest.mark.parametrize("ref", ["./model.gguf", "/models/model.gguf", "model.gguf", "../x"])
def test_a_file_where_a_ref_is_wanted(llstore: Command, ref: str) -> None:
    refused(llstore("run", ref, "-p", "hi"), 2, "llstore put FILE")


def test_a_damaged_manifest_is_named_and_healed_by_a_put(llstore: Command, put: Put, tiny: Path, home: Path) -> None:
    digest = put(tiny).removeprefix("sha256:")
    manifest = home / f"data/store/manifests/sha256/{digest[:2]}/{digest}"
    manifest.chmod(0o644)
    manifest.write_text("garbage")
    refused(llstore("get", digest), 4, "manifest", digest, "put the file again")
    llstore("put", tiny)
    assert llstore("get", digest).returncode == 0


def test_errors_are_json_too(llstore: Command) -> None:
    answer = llstore("get", ABSENT, "--json")
    error = json.loads(answer.stdout)["error"]
    assert (answer.returncode, error["code"], error["kind"]) == (3, 3, "model_not_found")
    assert set(error) == {"code", "kind", "message", "hint"}


def test_a_project_file_names_a_store_and_nothing_unsafe(llstore: Command, tmp_path: Path, bucket: str) -> None:
    (tmp_path / "llstore.toml").write_text(f'store = "{bucket}"\n[models]\nchat = "team/chat"\n')
    assert json.loads(llstore("doctor", "--json").stdout)["store"]["url"] == bucket
    assert json.loads(llstore("doctor", "--json", "--store", "memory://").stdout)["store"]["url"] == "memory://"
    (tmp_path / "llstore.toml").write_text('offline = true\ncache = "/elsewhere"\n')
    refused(llstore("list"), 2, "may not set cache, offline", "may set cache, offline)")
    for trust in ("profile=work", "ca=/tmp/x.pem"):
        (tmp_path / "llstore.toml").write_text(f'store = "s3://models?endpoint=http://127.0.0.1:9&{trust}"\n')
        refused(llstore("list"), 2, "may not choose " + trust.partition("=")[0])
    (tmp_path / "llstore.toml").write_text("store = ")
    refused(llstore("list"), 2, "cannot read")
