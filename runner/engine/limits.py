"""What an engine allows itself."""

from dataclasses import dataclass

from .company import Company

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """`queue` requests may wait; `prefix_bytes` of KV of past requests are kept in host memory for reuse, and of
    sliding-window models, whose saved states forget what the window has passed, `shelves` whole ones.

    Between two rounds of rows, as much prompt is read as takes `pause` seconds for each that has one to be read,
    `patience` seconds where all that decode are patient, or as long as their rows take if that is more; but while rows
    of another owner decode, no more than takes `strangers` times as long as these alone, less what rows of the prompts'
    owner cost them; half of that at least.
    A request that has waited `ageing` seconds counts as one priority higher.

    `company` is for exact engines; without it, they take seconds to find it by trying.
    """

    queue: int = 1024
    prefix_bytes: int = 1024 * MIB
    shelves: int = 2
    pause: float = 0.25
    patience: float = 10.0
    strangers: float = 0.6
    ageing: float = 10.0
    company: Company | None = None
