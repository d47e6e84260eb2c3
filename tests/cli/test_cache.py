"""`llstore cache`: what a person sees of the cache, and what they may decide about it."""

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]
Answer = Callable[..., dict[str, object]]

ABSENT = "ab" * 32
SIZE = 100_000


@pytest.fixture
def shared(tmp_path: Path) -> str:
    """The URL of a store that is not the embedded one, so that what is fetched is cached."""
    (tmp_path / "shared").mkdir()
    return (tmp_path / "shared").as_uri()


@pytest.fixture
def answer(llstore: Command, shared: str) -> Answer:
    """Runs a command that succeeds, and gives its JSON."""

    def run(*words: str, **environment: str) -> dict[str, object]:
        ran = llstore(*words, "--json", LLSTORE_STORE=shared, **environment)
        assert ran.returncode == 0, ran.stderr
        found: dict[str, object] = json.loads(ran.stdout)
        return found

    return run


def cached(answer: Answer, tmp_path: Path, letters: str) -> list[str]:
    """Put and get a file for each letter; gives their digests, full hex."""
    digests = []
    for letter in letters:
        path = tmp_path / letter
        path.write_bytes(letter.encode() * SIZE)
        answer("put", str(path), "--role", "other", "--name", f"t/{letter}")
        digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
        answer("get", digests[-1])
    return digests


def listed(answer: Answer) -> dict[str, dict[str, object]]:
    return {blob["digest"].removeprefix("sha256:"): blob for blob in answer("cache", "list")["blobs"]}


def test_a_fetched_file_is_listed(answer: Answer, llstore: Command, tmp_path: Path) -> None:
    (digest,) = cached(answer, tmp_path, "a")
    blob = listed(answer)[digest]
    assert (blob["size"], blob["verified"], blob["pinned"], blob["in_use"]) == (SIZE, True, False, False)
    shown = llstore("cache", "list").stdout
    assert all(word in shown for word in (digest[:12], "100.0 kB", "verified"))


def test_an_empty_cache_says_so(llstore: Command) -> None:
    ran = llstore("cache", "list")
    assert (ran.returncode, ran.stdout) == (0, "")
    assert "nothing is cached" in ran.stderr
    assert llstore("cache", "list", "--quiet").stderr == ""
    assert json.loads(llstore("cache", "partials", "--json").stdout) == {"partials": []}


def test_df_tells_the_budget_and_what_holds_it(answer: Answer, llstore: Command, tmp_path: Path) -> None:
    digests = cached(answer, tmp_path, "ab")
    answer("get", digests[0])
    answer("cache", "pin", digests[0])
    found = answer("cache", "df", LLSTORE_CACHE_MAX_BYTES="1GB")
    facts = {name: found[name] for name in ("used", "budget", "blobs", "pinned", "in_use", "partial", "quarantine")}
    assert facts == {
        "used": 2 * SIZE,
        "budget": 10**9,
        "blobs": 2 * SIZE,
        "pinned": SIZE,
        "in_use": 0,
        "partial": 0,
        "quarantine": 0,
    }
    counters = found["counters"]
    assert isinstance(counters, dict)
    assert (counters["hits"], counters["misses"], counters["hit_rate"]) == (1, 2, 0.3333)
    assert (counters["bytes_saved"], counters["bytes_fetched"]) == (SIZE, 2 * SIZE)
    shown = llstore("cache", "df", LLSTORE_CACHE_MAX_BYTES="1GB").stdout
    assert "1.0 GB" in shown
    assert "1 of 3 (33%)" in shown


def test_a_get_makes_room_within_the_budget(answer: Answer, tmp_path: Path) -> None:
    first, second, third = cached(answer, tmp_path, "abc")
    answer("cache", "prune", "--all")
    for digest in (first, second, third):
        answer("get", digest, LLSTORE_CACHE_MAX_BYTES=str(2 * SIZE + 50_000))
    assert set(listed(answer)) == {second, third}


def test_a_budget_smaller_than_the_blob_is_refused_with_code_6(answer: Answer, llstore: Command, shared: str) -> None:
    path = Path(shared.removeprefix("file://")).parent / "a"
    path.write_bytes(b"a" * SIZE)
    answer("put", str(path), "--role", "other", "--name", "t/a")
    ran = llstore("get", "t/a", LLSTORE_STORE=shared, LLSTORE_CACHE_MAX_BYTES="50kB")
    assert (ran.returncode, ran.stdout) == (6, "")
    assert len(ran.stderr.splitlines()) == 1
    assert "no room for 100.0 kB" in ran.stderr
    assert "budget of 50.0 kB" in ran.stderr
    assert "raise cache.max_bytes" in ran.stderr


def test_pinned_models_fill_a_budget_until_one_is_unpinned(
    answer: Answer, llstore: Command, shared: str, tmp_path: Path
) -> None:
    first, second = cached(answer, tmp_path, "ab")
    budget = {"LLSTORE_STORE": shared, "LLSTORE_CACHE_MAX_BYTES": str(SIZE + 50_000)}
    answer("cache", "prune", "--all")
    answer("get", first)
    assert answer("cache", "pin", "t/a") == {"digest": f"sha256:{first}", "pinned": True, "cached": True}
    ran = llstore("get", second, **budget)
    assert ran.returncode == 6
    assert "pinned 100.0 kB" in ran.stderr
    assert "llstore cache unpin" in ran.stderr
    assert answer("cache", "unpin", first[:12])["was_pinned"] is True
    assert llstore("get", second, **budget).returncode == 0
    assert set(listed(answer)) == {second}


def test_pinning_what_is_not_cached_is_remarked(llstore: Command) -> None:
    ran = llstore("cache", "pin", ABSENT)
    assert (ran.returncode, ran.stdout) == (0, f"sha256:{ABSENT}\n")
    assert "not cached yet" in ran.stderr
    assert llstore("cache", "pin", ABSENT, "--quiet").stderr == ""
    assert llstore("cache", "unpin", ABSENT, "--quiet").returncode == 0
    again = llstore("cache", "unpin", ABSENT)
    assert again.returncode == 0
    assert "was not pinned" in again.stderr


def test_a_name_that_is_not_there_cannot_be_pinned(llstore: Command) -> None:
    assert llstore("cache", "pin", "no/such").returncode == 3
    assert llstore("cache", "pin", "junk").returncode == 2


def test_a_full_digest_is_pinned_without_asking_the_store(llstore: Command) -> None:
    nowhere = "s3://bucket/?endpoint=http://127.0.0.1:9"
    assert llstore("cache", "pin", ABSENT, "--store", nowhere).returncode == 0


def test_a_dry_run_prunes_nothing(answer: Answer, tmp_path: Path) -> None:
    digests = cached(answer, tmp_path, "ab")
    answer("cache", "pin", digests[0])
    tried = answer("cache", "prune", "--all", "--dry-run")
    assert set(listed(answer)) == set(digests)
    assert (tried["dry_run"], tried["freed_bytes"]) == (True, SIZE)
    done = answer("cache", "prune", "--all")
    assert {**tried, "dry_run": False} == done
    assert set(listed(answer)) == {digests[0]}


def test_pruning_by_age_takes_what_is_older(answer: Answer, llstore: Command, tmp_path: Path) -> None:
    digests = cached(answer, tmp_path, "a")
    answer("cache", "prune", "--older-than", "1d")
    assert set(listed(answer)) == set(digests)
    time.sleep(1.1)
    ran = llstore("cache", "prune", "--older-than", "1s")
    assert digests[0][:12] in ran.stdout
    assert "freed 100.0 kB" in ran.stderr
    assert listed(answer) == {}


@pytest.mark.parametrize("age", ["", "30", "d", "-1d", "1y", "1.5d"])
def test_an_age_that_is_none_is_a_usage_error(llstore: Command, age: str) -> None:
    ran = llstore("cache", "prune", "--older-than", age)
    assert ran.returncode == 2
    assert len(ran.stderr.splitlines()) == 1


def test_part_files_are_listed_and_those_left_behind_removed(answer: Answer, llstore: Command, home: Path) -> None:
    path = home / "cache" / "partial" / f"{ABSENT}.00000000-1-1.abcd1234.part"
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(SIZE))
    os.utime(path, (time.time() - 7200,) * 2)
    (found,) = answer("cache", "partials")["partials"]  # type: ignore[misc]
    assert {**found, "age_seconds": 7200} == {
        "path": str(path),
        "digest": f"sha256:{ABSENT}",
        "size": SIZE,
        "age_seconds": 7200,
        "alive": False,
        "removed": False,
    }
    assert path.exists()
    ran = llstore("cache", "partials", "--remove")
    assert ABSENT[:12] in ran.stdout
    assert "removed" in ran.stdout
    assert not path.exists()


def write_config(home: Path, text: str) -> None:
    (home / "config").mkdir(parents=True, exist_ok=True)
    (home / "config" / "llstore.toml").write_text(text)


@pytest.mark.parametrize(("value", "budget"), [('"50GB"', 50 * 10**9), ('"50GiB"', 50 << 30), ("12345", 12345)])
def test_the_users_file_sets_the_budget_and_the_environment_overrules_it(
    answer: Answer, home: Path, value: str, budget: int
) -> None:
    write_config(home, f"[cache]\nmax_bytes = {value}\n")
    assert answer("cache", "df")["budget"] == budget
    assert answer("cache", "df", LLSTORE_CACHE_MAX_BYTES="7MB")["budget"] == 7_000_000


@pytest.mark.parametrize("value", ["0", "-5", "true", "1.5", '"much"', '""', "[]"])
def test_a_budget_that_is_none_is_a_usage_error(llstore: Command, home: Path, value: str) -> None:
    write_config(home, f"[cache]\nmax_bytes = {value}\n")
    ran = llstore("cache", "df")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "cache.max_bytes must be a size" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


@pytest.mark.parametrize("text", ["cache = 5\n", "[cache]\nroot = '/tmp'\n"])
def test_the_cache_table_holds_a_budget_only(llstore: Command, home: Path, text: str) -> None:
    write_config(home, text)
    ran = llstore("cache", "df")
    assert ran.returncode == 2
    assert "may set max_bytes" in ran.stderr


def test_a_bad_budget_in_the_environment_is_a_usage_error(llstore: Command) -> None:
    ran = llstore("cache", "df", LLSTORE_CACHE_MAX_BYTES="lots")
    assert ran.returncode == 2
    assert "LLSTORE_CACHE_MAX_BYTES must be a size" in ran.stderr


def test_a_project_may_not_set_the_budget(llstore: Command, tmp_path: Path) -> None:
    (tmp_path / "llstore.toml").write_text('[cache]\nmax_bytes = "1GB"\n')
    ran = llstore("cache", "df")
    assert ran.returncode == 2
    assert "may not set cache" in ran.stderr


def test_a_read_only_cache_can_be_listed(answer: Answer, llstore: Command, home: Path, tmp_path: Path) -> None:
    (digest,) = cached(answer, tmp_path, "a")
    (home / "cache" / "cache.db").chmod(0o444)
    (home / "cache").chmod(0o555)
    try:
        assert digest in listed(answer)
        assert answer("cache", "df")["used"] == SIZE
    finally:
        (home / "cache").chmod(0o755)
