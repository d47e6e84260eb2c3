"""Who may share a batch of rows in exact mode."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Company:
    """At most `rows` sequences, each of at most `length` tokens; a longer one decodes alone."""

    rows: int
    length: int
