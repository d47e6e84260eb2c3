"""KEY=VALUE as people type it."""

from collections.abc import Sequence

from ..store.errors import InvalidLabel

_MOST = 4096


def parse_labels(texts: Sequence[str], *, what: str = "a label") -> dict[str, str]:
    """The pairs in `texts`; raises InvalidLabel."""
    pairs = [text.partition("=") for text in texts]
    for key, equals, value in pairs:
        if not key or not equals or not (key + value).isprintable() or len(key + value) > _MOST:
            raise InvalidLabel(
                f"not {what}: {key + equals + value!r}",
                hint=f"{what} is KEY=VALUE, in printable text of at most {_MOST} characters",
            )
    return {key: value for key, _, value in pairs}
