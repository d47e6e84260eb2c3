"""A report in Markdown, kept as it grows: what was measured is written also where the rest was not reached."""

from collections.abc import Iterable, Sequence
from math import isfinite
from statistics import median


class Report:
    """Headings, tables and remarks, in the order in which they came."""

    def __init__(self, title: str) -> None:
        self._blocks = [f"# {title}"]

    def part(self, title: str) -> None:
        """A part begins."""
        self._blocks.append(f"## {title}")

    def say(self, *lines: str) -> None:
        """A list of remarks."""
        self._blocks += ["\n".join(f"- {line}" for line in lines)] if lines else []

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Its first column is names."""
        lines = [head, ["---"] * len(head), *rows]
        self._blocks.append("\n".join("| " + " | ".join(_plain(cell) for cell in line) + " |" for line in lines))

    def __str__(self) -> str:
        return "\n\n".join(self._blocks) + "\n"


def spread(values: Iterable[float], *, digits: int = 2) -> str:
    """Median and range; a dash where there was nothing to measure."""
    found = sorted(value for value in values if isfinite(value))
    if not found:
        return "-"
    between = f" ({found[0]:.{digits}f}-{found[-1]:.{digits}f})" if len(found) > 1 else ""
    return f"{median(found):.{digits}f}{between}"


def _plain(cell: str) -> str:
    return cell.replace("|", "/").replace("\n", " ")
