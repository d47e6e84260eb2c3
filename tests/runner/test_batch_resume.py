"""Whatever ends a batch, the next one goes on behind its last whole line, and no line is answered twice."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llstore.runner.batch import results as results_module
from llstore.runner.batch.reader import Line
from llstore.runner.batch.results import FileResults
from llstore.runner.batch.window import Finished, Window
from llstore.runner.errors import BatchBusy, OtherBatch
from llstore.store import Digest
from llstore.store.errors import FileKept

SETTINGS = {"model": "sha256:" + "ab" * 32, "temperature": 0.8}


def line(number: int, text: str = "") -> Line:
    data = f"question {number} {text}".encode()
    return Line(number, number + 1, data, Digest.of(data).hex[:32])


def lines(count: int) -> list[Line]:
    return [line(number) for number in range(count)]


def answer(to: Line) -> Finished:
    failed = to.number % 5 == 3
    document = {"id": to.number, "error": "ü"} if failed else {"id": to.number, "text": "ä" * (to.number % 7)}
    return Finished(to.number, to.digest, json.dumps(document, ensure_ascii=False).encode() + b"\n", failed)


def expected(count: int) -> bytes:
    return b"".join(answer(one).data for one in lines(count))


@dataclass
class Disk:
    """What lies on the disk: the output and its journal, each None when it is not there."""

    output: bytes | None
    journal: bytes | None

    @classmethod
    def of(cls, path: Path) -> "Disk":
        journal = path.with_name(path.name + ".llstore")
        return cls(*(file.read_bytes() if file.exists() else None for file in (path, journal)))

    def restore(self, path: Path) -> None:
        for file, data in ((path, self.output), (path.with_name(path.name + ".llstore"), self.journal)):
            file.unlink(missing_ok=True)
            if data is not None:
                file.write_bytes(data)


class Worker:
    """Answers lines in a given order, at most three ahead of the one whose turn it is, and notes which."""

    def __init__(self, path: Path, count: int) -> None:
        self.path = path
        self.count = count
        self.answered: list[int] = []
        self.states: list[Disk] = []

    def work(self, order: Iterator[int], *, steps: int | None = None) -> None:
        """Goes on for so many answers, or until all is done; keeps what lay on the disk between any two."""
        with FileResults(self.path, SETTINGS) as results:
            feed = iter(lines(self.count))
            results.pass_over(feed)
            window = Window(lines=4, size=10**6, first=results.lines)
            waiting: list[Line] = []
            self.states = [Disk.of(self.path)]
            while steps is None or len(self.states) <= steps:
                while window.room_for(nexts := (waiting[-1].number + 1 if waiting else window.next)):
                    one = next(feed, None)
                    if one is None:
                        break
                    assert one.number >= nexts
                    known = results.recall(one)
                    if known:
                        self._put(known, window, results, kept=True)
                    else:
                        waiting.append(one)
                if not waiting:
                    break
                one = waiting.pop(next(order) % len(waiting))
                self.answered.append(one.number)
                self._put(answer(one), window, results)
                self.states.append(Disk.of(self.path))
            if window.next == self.count and steps is None:
                results.finish()

    def _put(self, finished: Finished, window: Window, results: FileResults, *, kept: bool = False) -> None:
        if finished.number != window.next and not kept:
            results.keep(finished)
        window.put(finished)
        if ready := window.take():
            results.write(ready, window.waiting)


def between(before: Disk, after: Disk, cut: int) -> Disk:
    """What a kill leaves between two states: the journal grows by its record first, then the output by its lines."""
    assert before.journal is not None
    assert after.journal is not None
    assert before.output is not None
    assert after.output is not None
    assert after.journal.startswith(before.journal)
    assert after.output.startswith(before.output)
    record = len(after.journal) - len(before.journal)
    if cut <= record:
        return Disk(before.output, after.journal[: len(before.journal) + cut])
    return Disk(after.output[: len(before.output) + cut - record], after.journal)


def whole_lines(data: bytes) -> bytes:
    return data[: data.rfind(b"\n") + 1]


@settings(max_examples=60)
@given(
    order=st.lists(st.integers(0, 3), min_size=5, max_size=30),
    count=st.integers(1, 12),
    kills=st.lists(st.tuples(st.integers(0, 11), st.floats(0, 1)), max_size=3),
)
def test_a_kill_at_any_byte_loses_no_line_and_doubles_none(
    order: list[int], count: int, kills: list[tuple[int, float]]
) -> None:
    folder = Path(tempfile.mkdtemp())
    path = folder / "results.jsonl"
    choice = cycle(order)
    done: list[int] = []
    for step, where in kills:
        worker = Worker(path, count)
        worker.work(choice)
        step = min(step, len(worker.states) - 1)
        before, after = worker.states[max(step - 1, 0)], worker.states[step]
        grown = len(after.journal or b"") + len(after.output or b"") - len(before.journal or b"")
        left = between(before, after, round(where * (grown - len(before.output or b""))))
        left.restore(path)
        # What had a whole record, ahead of its turn or in the output, is not answered again.
        assert left.journal is not None
        kept = {json.loads(row)["ahead"] for row in left.journal.split(b"\n")[:-1] if b'"ahead"' in row}
        held = (left.output or b"").count(b"\n")
        done = [number for number in range(count) if number < held or number in kept]
        again = Worker(path, count)
        again.work(choice, steps=0)
        assert path.read_bytes() == whole_lines(left.output or b"")
    last = Worker(path, count)
    last.work(choice)
    assert path.read_bytes() == expected(count)
    assert not set(last.answered) & set(done)
    assert len(last.answered) == len(set(last.answered)) == count - len(done)
    assert [file.name for file in folder.iterdir()] == ["results.jsonl"]
    shutil.rmtree(folder)


def begun(path: Path, count: int = 6, steps: int = 3) -> bytes:
    """A batch that was interrupted in good order after some answers."""
    Worker(path, count).work(iter([0] * 100), steps=steps)
    return path.read_bytes()


def resumed(path: Path, of: list[Line], settings: dict[str, object] | None = None) -> int:
    with FileResults(path, settings or SETTINGS) as results:
        results.pass_over(iter(of))
        return results.lines


def test_what_failed_before_counts_after(tmp_path: Path) -> None:
    path = tmp_path / "out"
    begun(path, steps=5)
    with FileResults(path, SETTINGS) as results:
        assert (results.lines, results.failed) == (5, 1)


def test_a_file_that_no_batch_left_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"mine\n")
    with pytest.raises(FileKept, match="is there, of a batch that is done or of something else"):
        FileResults(path, SETTINGS)
    assert path.read_bytes() == b"mine\n"
    with FileResults(path, SETTINGS, restart=True) as results:
        results.pass_over(iter([]))
        results.finish()
    assert path.read_bytes() == b""


def test_a_batch_that_never_began_leaves_nothing_that_looks_done(tmp_path: Path) -> None:
    path = tmp_path / "out"
    FileResults(path, SETTINGS).close()
    assert not path.exists()
    path.touch()
    FileResults(path, SETTINGS).close()
    assert path.exists(), "it was there before"


def test_an_empty_file_is_as_good_as_none(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.touch()
    assert resumed(path, []) == 0


def test_other_settings_are_refused_by_name_and_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out"
    had = begun(path)
    with pytest.raises(OtherBatch, match=r"temperature was 0\.8 and is 0\.0"):
        FileResults(path, {**SETTINGS, "temperature": 0.0})
    assert path.read_bytes() == had
    assert resumed(path, lines(6)) == 3


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_a_changed_line_that_was_answered_is_refused(tmp_path: Path, changed: int) -> None:
    path = tmp_path / "out"
    had = begun(path)
    other = [line(n, "other" if n == changed else "") for n in range(6)]
    with pytest.raises(OtherBatch, match="of the input are not those"):
        resumed(path, other)
    with pytest.raises(OtherBatch, match="the input has 2 lines, and 3 were answered"):
        resumed(path, lines(2))
    assert path.read_bytes() == had


def test_lines_that_were_not_answered_may_change(tmp_path: Path) -> None:
    path = tmp_path / "out"
    begun(path)
    assert resumed(path, [*lines(3), line(3, "other"), *(line(n) for n in range(4, 20))]) == 3


def test_an_answer_kept_for_a_line_that_changed_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with FileResults(path, SETTINGS) as results:
        results.pass_over(iter(lines(3)))
        results.keep(answer(line(1)))
        results.keep(answer(line(2)))
    with FileResults(path, SETTINGS) as results:
        results.pass_over(iter(lines(3)))
        assert results.recall(line(1, "other")) is None
        assert results.recall(line(2)) == answer(line(2))


@pytest.mark.parametrize("spoil", [b"X", b""])
def test_an_output_that_somebody_changed_is_refused(tmp_path: Path, spoil: bytes) -> None:
    path = tmp_path / "out"
    had = begun(path)
    path.write_bytes(spoil + had[1:])
    with pytest.raises(OtherBatch, match="changed since"):
        FileResults(path, SETTINGS)
    assert path.read_bytes() == spoil + had[1:]


def test_a_journal_without_its_output_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "out"
    begun(path)
    path.unlink()
    assert resumed(path, lines(6)) == 0


def test_zeros_that_a_power_cut_left_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "out"
    worker = Worker(path, 6)
    worker.work(iter([0] * 100))
    left = worker.states[3]
    assert left.output is not None
    Disk(left.output[:-5] + b"\0" * 3000, left.journal).restore(path)
    assert resumed(path, lines(6)) == 2
    assert path.read_bytes() == whole_lines(left.output[:-5])


def test_a_journal_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out"
    begun(path)
    (tmp_path / "out.llstore").write_bytes(b"{}\n")
    with pytest.raises(OtherBatch, match="not a batch's journal"):
        FileResults(path, SETTINGS)


def test_a_second_batch_on_the_same_output_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out"
    begun(path)
    with FileResults(path, SETTINGS), pytest.raises(BatchBusy, match="another llstore batch"):
        FileResults(path, SETTINGS)
    assert resumed(path, lines(6)) == 3


def test_a_journal_does_not_grow_with_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_module, "LARGE_JOURNAL", 10_000)
    path = tmp_path / "out"
    worker = Worker(path, 400)
    largest = 0
    with FileResults(path, SETTINGS) as results:
        results.pass_over(iter(lines(400)))
        for even in range(0, 400, 2):
            results.keep(answer(line(even + 1)))
            results.write([answer(line(even)), answer(line(even + 1))], [])
            largest = max(largest, (tmp_path / "out.llstore").stat().st_size)
    assert largest < 11_000
    assert path.read_bytes() == expected(400)
    worker.work(iter([]))
    assert worker.answered == []
