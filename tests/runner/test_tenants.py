"""Keys and tenants: what opens what, what may be, and what was used."""

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from steps import calls

from llstore.runner.errors import (
    InvalidKey,
    InvalidTenant,
    NoSuchKey,
    NoSuchTenant,
    RunnerError,
)
from llstore.runner.tenants.key import Terms
from llstore.runner.tenants.keyfile import KeyFile
from llstore.runner.tenants.keyring import Access, Keyring
from llstore.runner.tenants.tenant import Changes, Tenant
from llstore.runner.tenants.usage import UsageRow, UsageTally, day_of

NOW = 1_800_000_000.0
MODEL = "sha256:" + "ab" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys.db"


@pytest.fixture
def file(path: Path) -> Iterator[KeyFile]:
    with KeyFile(path) as file:
        yield file


def test_a_key_opens_its_tenants_part(file: KeyFile) -> None:
    issued = file.create("team-a", now=NOW, changes=Changes(requests_per_minute=60, models=("t/t",)))
    access = file.load().find(issued.text, NOW)
    assert access == Access(Tenant("team-a", ("t/t",), requests_per_minute=60), issued.key.id, metrics=False)


def test_a_key_is_an_id_and_256_random_bits(file: KeyFile) -> None:
    texts = [file.create("t", now=NOW).text for _ in range(5)]
    parts = [text.split("-") for text in texts]
    assert {(word, len(id), len(bytes.fromhex(secret))) for word, id, secret in parts} == {("llstore", 12, 32)}
    assert len({id for _, id, _ in parts}) == len({secret for *_, secret in parts}) == 5


def other_letter(letter: str) -> str:
    return "a" if letter != "a" else "b"


def test_nothing_but_the_whole_key_opens_anything(file: KeyFile) -> None:
    issued, other = file.create("t", now=NOW), file.create("t", now=NOW)
    ring = file.load()
    text = issued.text
    _, id, secret = text.split("-")
    wrong = [text[:n] for n in range(len(text))] + [text[n:] for n in range(1, len(text))]
    wrong += [text[:n] + other_letter(text[n]) + text[n + 1 :] for n in range(len(text))]
    wrong += [f"llstore-{other.key.id}-{secret}", f"llstore-{id[::-1]}-{secret}", f"llstore-{id}-{'0' * 64}"]
    odd = ["\0", "\n", " ", "\udcff", "é", "-", "a", chr(0x1D7D8)]
    wrong += [letter + text for letter in odd] + [text + letter for letter in odd] + [text * 2, "x" * 10**6]
    wrong += [text[:40] + letter + text[41:] for letter in odd if letter != text[40]]
    wrong += [text.upper(), f"Bearer {text}", "", "-", "llstore--", f"llstore-{id}", secret, id]
    assert [candidate for candidate in wrong if ring.find(candidate, NOW)] == []
    assert ring.find(text, NOW)


def test_a_disabled_key_opens_nothing(file: KeyFile) -> None:
    issued, other = file.create("t", now=NOW), file.create("t", now=NOW)
    assert file.disable(issued.key.id)
    assert not file.disable(issued.key.id)
    ring = file.load()
    assert ring.find(issued.text, NOW) is None
    assert ring.find(other.text, NOW)


def test_a_key_opens_until_it_expires(file: KeyFile) -> None:
    issued = file.create("t", now=NOW, terms=Terms(expires=NOW + 10))
    ring = file.load()
    assert ring.find(issued.text, NOW + 9.9)
    assert ring.find(issued.text, NOW + 10) is None


def test_a_key_for_metrics_says_so(file: KeyFile) -> None:
    issued = file.create("t", now=NOW, terms=Terms(metrics=True))
    access = file.load().find(issued.text, NOW)
    assert access
    assert access.metrics


def test_a_keyring_is_empty_only_while_no_key_was_ever_made(file: KeyFile) -> None:
    assert file.load().empty
    assert Keyring().empty
    issued = file.create("t", now=NOW)
    file.disable(issued.key.id)
    assert not file.load().empty
    assert Keyring().find(issued.text, NOW) is None


def test_a_keyring_stays_as_it_was(file: KeyFile) -> None:
    issued = file.create("t", now=NOW)
    ring = file.load()
    file.disable(issued.key.id)
    assert ring.find(issued.text, NOW)


def test_finding_one_of_many_keys_takes_no_more_calls_than_finding_the_only_one(file: KeyFile) -> None:
    first = file.create("t", now=NOW).text
    alone = calls(partial(file.load().find, first, NOW))
    texts = [file.create("t", now=NOW).text for _ in range(20)]
    ring = file.load()
    assert {calls(partial(ring.find, text, NOW)) for text in [first, *texts]} == {alone}
    assert alone < 50


def test_a_rotated_key_goes_on_for_its_grace(file: KeyFile) -> None:
    old = file.create("t", now=NOW, terms=Terms(note="ci", metrics=True))
    new = file.rotate(old.key.id, now=NOW, grace=60)
    assert (new.key.tenant, new.key.note, new.key.metrics, new.key.expires) == ("t", "ci", True, None)
    assert new.key.id != old.key.id
    ring = file.load()
    assert all(ring.find(key.text, NOW + 59) for key in (old, new))
    assert ring.find(old.text, NOW + 60) is None
    assert ring.find(new.text, NOW + 60)


def test_without_grace_the_old_key_ends_at_once(file: KeyFile) -> None:
    old = file.create("t", now=NOW)
    file.rotate(old.key.id, now=NOW)
    assert file.load().find(old.text, NOW) is None


def test_rotating_renews_the_lifetime_and_does_not_lengthen_the_old_one(file: KeyFile) -> None:
    old = file.create("t", now=NOW, terms=Terms(expires=NOW + 100))
    new = file.rotate(old.key.id, now=NOW + 90, grace=60)
    assert new.key.expires == NOW + 190
    assert file.key(old.key.id).expires == NOW + 100


def test_only_a_key_that_opens_is_rotated_and_once(file: KeyFile) -> None:
    rotated, disabled = file.create("t", now=NOW).key.id, file.create("t", now=NOW).key.id
    expired = file.create("t", now=NOW, terms=Terms(expires=NOW + 1)).key.id
    successor = file.rotate(rotated, now=NOW, grace=100).key.id
    file.disable(disabled)
    for id, word in ((rotated, "rotated"), (disabled, "disabled"), (expired, "expired")):
        with pytest.raises(InvalidKey, match=word):
            file.rotate(id, now=NOW + 2)
    assert file.key(rotated).replaced_by == successor
    assert len(file.keys()) == 4


def test_an_unknown_key_is_named_and_a_secret_is_not(file: KeyFile) -> None:
    issued = file.create("t", now=NOW)
    for verb in (file.disable, file.key, lambda id: file.rotate(id, now=NOW)):
        with pytest.raises(NoSuchKey, match="aaaaaaaaaaaa"):
            verb("aaaaaaaaaaaa")
        with pytest.raises(NoSuchKey) as refused:
            verb(issued.text[:-1])
        assert issued.text[21:60] not in str(refused.value) + refused.value.hint
    assert file.key(issued.text) == file.key(f"llstore-{issued.key.id}") == issued.key


@pytest.mark.parametrize("expires", [NOW, NOW - 1, float("nan"), float("inf"), NOW + 1e12])
def test_a_key_that_would_never_open_or_never_end_is_not_made(file: KeyFile, expires: float) -> None:
    with pytest.raises(InvalidKey, match="expires"):
        file.create("t", now=NOW, terms=Terms(expires=expires))
    assert file.tenants() == []


@pytest.mark.parametrize("note", ["a\nb", "\x1b[2J", "\udcff", "x" * 201])
def test_a_note_is_short_and_printable(note: str) -> None:
    with pytest.raises(InvalidKey, match="note"):
        Terms(note=note)


@pytest.mark.parametrize("name", ["", "Team", "a b", "a/b", "é", "a\n", "x" * 65, None, 5])
def test_a_name_that_is_none_is_refused(file: KeyFile, name: str) -> None:
    with pytest.raises(InvalidTenant, match="name"):
        file.create(name, now=NOW)


@pytest.mark.parametrize(
    "settings",
    [
        *(
            {field: value}
            for field in ("requests_per_minute", "tokens_per_minute")
            for value in (-1, 0, 1.5, True, 2e9)
        ),
        *({"concurrency": value} for value in (-1, 0, "3")),
        *({"priority": value} for value in (-101, 101, 1.0, None)),
        *({"share": value} for value in (0, -1.0, 1000.1, float("nan"), float("inf"), "1", True)),
        *({"models": value} for value in (["t/t"], ("",), ("t",), ("a.gguf",), (5,), ("t/t",) * 257)),
    ],
)
def test_a_limit_out_of_range_is_refused(settings: dict) -> None:
    with pytest.raises(InvalidTenant, match=r"of t\b"):
        Tenant("t", **settings)


def test_given_settings_change_a_tenant_and_others_stay(file: KeyFile) -> None:
    file.create("t", now=NOW, changes=Changes(models=("t/t", "ab" * 32), tokens_per_minute=100, share=2.5))
    file.create("t", now=NOW, changes=Changes(requests_per_minute=7))
    assert file.tenants() == [Tenant("t", ("t/t", "ab" * 32), 7, 100, share=2.5)]
    changed = file.set_tenant("t", Changes(models=(), tokens_per_minute=0, concurrency=3, priority=-5))
    assert changed == Tenant("t", (), 7, None, 3, -5, 2.5)
    assert file.tenants() == [file.tenant("t")] == [changed]


def test_a_change_that_is_refused_changes_nothing(file: KeyFile) -> None:
    file.create("t", now=NOW, changes=Changes(priority=5))
    with pytest.raises(InvalidTenant, match="priority"):
        file.set_tenant("t", Changes(priority=500, share=3.0))
    with pytest.raises(InvalidTenant, match="priority"):
        file.create("t", now=NOW, changes=Changes(priority=500))
    with pytest.raises(NoSuchTenant, match="'u'"):
        file.set_tenant("u", Changes(priority=1))
    assert file.tenants() == [Tenant("t", priority=5)]
    assert len(file.keys()) == 1


def test_usage_adds_up_by_tenant_model_and_day(file: KeyFile) -> None:
    tally = UsageTally()
    for _ in range(3):
        tally.add(UsageRow("a", MODEL, day_of(NOW), 1, 10, 4, 2))
    tally.add(UsageRow("b", MODEL, day_of(NOW + 86_400), 1, 1, 0, 1))
    tally.flush(file)
    tally.flush(file)
    tally.add(UsageRow("a", MODEL, day_of(NOW), 1, 10, 4, 2))
    assert len(file.usage()) == 2
    tally.flush(file)
    first = UsageRow("a", MODEL, "2027-01-15", 4, 40, 16, 8)
    assert file.usage() == [first, UsageRow("b", MODEL, "2027-01-16", 1, 1, 0, 1)]
    assert file.usage("a") == [first]
    assert file.usage("c") == []


class Full:
    """A file whose disk is full."""

    def add_usage(self, _rows: object) -> None:
        raise RunnerError("no space")


def test_usage_that_could_not_be_flushed_is_still_counted(file: KeyFile) -> None:
    tally = UsageTally()
    row = UsageRow("a", MODEL, "2026-01-31", 1, 10, 4, 2)
    tally.add(row)
    with pytest.raises(RunnerError):
        tally.flush(Full())
    assert tally.rows() == [row]
    tally.flush(file)
    assert tally.rows() == []
    assert file.usage() == [row]


def test_threads_count_together(file: KeyFile) -> None:
    tally = UsageTally()

    def work() -> None:
        for n in range(200):
            tally.add(UsageRow("a", MODEL, "2026-01-31", 1, 2))
            if n % 50 == 0:
                tally.flush(file)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    tally.flush(file)
    assert file.usage() == [UsageRow("a", MODEL, "2026-01-31", 800, 1600)]
