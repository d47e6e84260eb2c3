"""What may be collected and what may not: facts in, facts out."""

from typing import Any

import pytest

from llstore.store import Digest, ulid
from llstore.store.backends import Stat
from llstore.store.entry import Entry, intent_entry, sweep_entry
from llstore.store.gc.mark import candidates, swept_until
from llstore.store.layout import blob_key, blocks_key, manifest_key

NOW = 1_760_000_000.0
ONE, TWO = Digest("1" * 64), Digest("2" * 64)


def entry(document: dict[str, Any]) -> Entry:
    return Entry(ulid.lowest(NOW), document)


def test_what_is_live_young_or_not_ours_is_no_candidate() -> None:
    old = [Stat(key(digest), 7, NOW - 10) for key in (blob_key, blocks_key, manifest_key) for digest in (ONE, TWO)]
    young = Stat(blob_key(Digest("3" * 64)), 7, NOW + 1)
    foreign = [
        Stat(key, 7, NOW - 10)
        for key in ("llstore.json", f"other/sha256/11/{ONE.hex}", f"blobs/sha256/22/{ONE.hex}", "blobs/sha256/11/1")
    ]
    found = candidates([*old, young, *foreign], live={ONE}, before=NOW)
    assert {candidate.key for candidate in found} == {blob_key(TWO), blocks_key(TWO), manifest_key(TWO)}
    assert {candidate.digest for candidate in found} == {TWO}


def test_no_sweep_is_open_where_there_is_none() -> None:
    assert swept_until([entry(intent_entry([ONE]))], [ONE], now=NOW) == 0


def test_an_open_sweep_is_seen_by_those_whose_blob_it_may_delete() -> None:
    sweeps = [entry(sweep_entry([ONE], until=NOW + 600))]
    assert swept_until(sweeps, [ONE, TWO], now=NOW + 300) == NOW + 600
    assert swept_until(sweeps, [TWO], now=NOW + 300) == 0
    assert swept_until(sweeps, [ONE], now=NOW + 601) == 0


def test_the_last_of_several_open_sweeps_counts() -> None:
    sweeps = [entry(sweep_entry([ONE, TWO], until=NOW + after)) for after in (100, 500, 300, -100)]
    assert swept_until(sweeps, [TWO], now=NOW) == NOW + 500


@pytest.mark.parametrize(
    "malformed",
    [
        {},
        {"digests": [str(ONE)]},
        {"until": NOW + 600},
        {"digests": None, "until": NOW + 600},
        {"digests": [str(ONE)], "until": "soon"},
        {"digests": [str(ONE)], "until": 1e300},
    ],
)
def test_a_malformed_sweep_stops_nobody_and_hides_no_other(malformed: dict[str, Any]) -> None:
    sweeps = [entry({"op": "sweep"} | malformed), entry(sweep_entry([ONE], until=NOW + 300))]
    assert swept_until(sweeps, [ONE], now=NOW) == NOW + 300
