"""The choice of what goes: never what must stay, enough or nothing, the least recently used first."""

from hypothesis import given
from hypothesis import strategies as st

from llstore.store import Digest
from llstore.store.cache.eviction import CachedBlob, choose, oldest, unused

GB = 10**9


@st.composite
def caches(draw: st.DrawFn) -> list[CachedBlob]:
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, 50), st.integers(0, 20), st.booleans(), st.booleans()),
            max_size=12,
        )
    )
    return [
        CachedBlob(Digest.of(str(number).encode()), size, float(used_at), pinned=pinned, leased=leased)
        for number, (size, used_at, pinned, leased) in enumerate(rows)
    ]


needs = st.integers(1, 300)


@given(caches(), needs)
def test_what_is_pinned_or_in_use_never_goes(blobs: list[CachedBlob], needed: int) -> None:
    for chosen in (choose(blobs, needed=needed) or (), oldest(blobs, needed=needed), unused(blobs, since=1e9)):
        assert not [blob for blob in chosen if blob.pinned or blob.leased]


@given(caches(), needs)
def test_a_choice_frees_enough_or_is_refused(blobs: list[CachedBlob], needed: int) -> None:
    chosen = choose(blobs, needed=needed)
    free = sum(blob.size for blob in blobs if not blob.protected)
    assert (chosen is None) == (free < needed)
    if chosen is not None:
        assert sum(blob.size for blob in chosen) >= needed


@given(caches(), needs)
def test_no_more_goes_than_is_needed(blobs: list[CachedBlob], needed: int) -> None:
    chosen = choose(blobs, needed=needed)
    if chosen:
        assert sum(blob.size for blob in chosen[:-1]) < needed
        assert all(blob.size for blob in chosen)


@given(caches(), needs)
def test_whatever_stays_was_used_no_earlier_than_what_goes(blobs: list[CachedBlob], needed: int) -> None:
    chosen = oldest(blobs, needed=needed)
    stays = [blob.used_at for blob in blobs if blob not in chosen and not blob.protected and blob.size]
    assert max((blob.used_at for blob in chosen), default=0) <= min(stays, default=1e9)
    assert [blob.used_at for blob in chosen] == sorted(blob.used_at for blob in chosen)


@given(caches(), needs, st.randoms())
def test_the_choice_does_not_hang_on_the_order_of_the_facts(
    blobs: list[CachedBlob], needed: int, random: object
) -> None:
    shuffled = list(blobs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert choose(blobs, needed=needed) == choose(shuffled, needed=needed)


@given(caches(), st.integers(0, 25))
def test_unused_means_not_used_since(blobs: list[CachedBlob], since: int) -> None:
    chosen = unused(blobs, since=since)
    assert set(chosen) == {blob for blob in blobs if blob.used_at < since and not blob.protected}


def test_an_empty_cache_frees_nothing() -> None:
    assert choose([], needed=1) is None
    assert oldest([], needed=1) == ()


def test_nothing_goes_when_nothing_is_needed() -> None:
    assert choose([CachedBlob(Digest.of(b"a"), GB, 0.0)], needed=0) == ()
