"""Files that appear whole or not at all."""

import errno
import os
import random
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llstore.store.disk import CHUNK, READ_ONLY, PartFile, disk_errors, link, make_folder, read_chunks
from llstore.store.errors import DiskError, FileKept, NoSpace

DATA = random.Random(0).randbytes(3 * CHUNK + 17)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("disk") / "large"
    path.write_bytes(DATA)
    return path


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def commit(part: PartFile, data: bytes, target: Path, *, replace: bool = True) -> None:
    with part:
        part.write(data)
        part.commit(target, replace=replace)


def test_a_committed_file_holds_what_was_written_and_no_part_is_left(tmp_path: Path) -> None:
    with PartFile.beside(tmp_path / "partial", size=11) as part:
        part.write(b"hello")
        part.write(b"")
        part.write(b" world")
        part.commit(tmp_path / "a" / "b" / "target")
    assert (tmp_path / "a" / "b" / "target").read_bytes() == b"hello world"
    assert files(tmp_path) == ["a/b/target"]


def test_nothing_is_visible_before_the_commit(tmp_path: Path) -> None:
    with PartFile.beside(tmp_path / "partial", size=5) as part:
        part.write(b"hello")
        assert files(tmp_path) == [part.path.relative_to(tmp_path).as_posix()]
        assert part.path.name.startswith(".")


def test_without_a_commit_nothing_is_left(tmp_path: Path) -> None:
    with PartFile.beside(tmp_path / "partial", size=5) as part:
        part.write(b"hello")
    assert files(tmp_path) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def write() -> None:
        with PartFile.beside(tmp_path / "partial") as part:
            part.write(b"hello")
            raise error

    with pytest.raises(error):
        write()
    assert files(tmp_path) == []


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    def lowest_free() -> int:
        fd = os.open(tmp_path, os.O_RDONLY)
        os.close(fd)
        return fd

    before = lowest_free()
    commit(PartFile.beside(tmp_path), b"hello", tmp_path / "target")
    with pytest.raises(FileKept):
        commit(PartFile.beside(tmp_path), b"hello", tmp_path / "target", replace=False)
    assert lowest_free() == before


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    with PartFile.beside(tmp_path) as one, PartFile.beside(tmp_path) as other:
        one.write(b"one")
        other.write(b"other")
        one.commit(tmp_path / "target")
        other.commit(tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"other"
    assert files(tmp_path) == ["target"]


def test_a_commit_gives_the_mode_it_is_asked_for(tmp_path: Path) -> None:
    with PartFile.beside(tmp_path) as part:
        part.commit(tmp_path / "target", mode=READ_ONLY)
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_commit_without_a_mode_gives_that_of_any_new_file(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with PartFile.beside(tmp_path) as part:
            part.commit(tmp_path / "target")
    finally:
        os.umask(before)
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_commit_replaces_what_stands_there(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"old")
    commit(PartFile.beside(tmp_path), b"new", target)
    assert target.read_bytes() == b"new"


def test_a_commit_that_may_not_replace_keeps_what_stands_there(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"old")
    with pytest.raises(FileKept, match="target") as kept:
        commit(PartFile.beside(tmp_path), b"new", target, replace=False)
    assert "--force" in kept.value.hint
    assert target.read_bytes() == b"old"
    assert files(tmp_path) == ["target"]


def test_a_commit_that_may_not_replace_makes_a_file_where_none_stands(tmp_path: Path) -> None:
    commit(PartFile.beside(tmp_path), b"new", tmp_path / "target", replace=False)
    assert (tmp_path / "target").read_bytes() == b"new"
    assert (tmp_path / "target").stat().st_nlink == 1
    assert files(tmp_path) == ["target"]


def test_a_dangling_link_is_kept_too(tmp_path: Path) -> None:
    (tmp_path / "target").symlink_to(tmp_path / "absent")
    with pytest.raises(FileKept):
        commit(PartFile.beside(tmp_path / "partial"), b"new", tmp_path / "target", replace=False)
    assert not (tmp_path / "absent").exists()


def test_a_commit_onto_a_folder_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with pytest.raises(DiskError, match="target"):
        commit(PartFile.beside(tmp_path / "partial"), b"new", tmp_path / "target")
    assert files(tmp_path) == []


def test_a_part_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError), PartFile.beside(tmp_path / "file" / "partial"):
        pass


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, len(DATA)])
def test_a_clone_equals_its_source(tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA[:size])
    with PartFile.beside(tmp_path / "partial") as part:
        part.clone(source)
        part.commit(tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == DATA[:size]
    assert source.read_bytes() == DATA[:size]


def test_a_clone_has_bytes_of_its_own(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"hello")
    with PartFile.beside(tmp_path) as part:
        part.clone(source)
        part.commit(tmp_path / "target")
    source.write_bytes(b"HELLO")
    assert (tmp_path / "target").read_bytes() == b"hello"


def test_a_clone_of_nothing_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DiskError), PartFile.beside(tmp_path) as part:
        part.clone(tmp_path / "absent")
    assert files(tmp_path) == []


def test_a_link_is_a_second_name_for_the_same_file(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"hello")
    link(source, target)
    assert target.samefile(source)


def test_a_link_keeps_what_stands_there_unless_it_may_replace_it(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"new")
    target.write_bytes(b"old")
    with pytest.raises(FileKept):
        link(source, target)
    assert target.read_bytes() == b"old"
    link(source, target, replace=True)
    assert target.samefile(source)


def test_a_link_onto_another_name_of_the_same_file_leaves_no_third(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"hello")
    link(source, target)
    link(source, target, replace=True)
    assert files(tmp_path) == ["source", "target"]
    assert source.stat().st_nlink == 2


def test_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    for replace in (False, True):
        with pytest.raises(DiskError):
            link(tmp_path / "absent", tmp_path / "target", replace=replace)
    assert files(tmp_path) == []


def test_many_who_make_the_same_folder_at_once_all_have_it(tmp_path: Path) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for turn in range(200):
                list(pool.map(make_folder, [tmp_path / f"{turn}/b/c"] * 8))
    finally:
        sys.setswitchinterval(interval)


def test_a_folder_is_not_made_where_a_file_stands(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in ("file", "file/below/it"):
        with pytest.raises(NotADirectoryError, match=str(tmp_path / "file")):
            make_folder(tmp_path / folder)


offsets = st.integers(0, len(DATA) + 10) | st.builds(
    lambda chunk, step: max(0, chunk * CHUNK + step), st.integers(0, 3), st.integers(-2, 2)
)


@settings(deadline=None)
@given(offsets, st.none() | offsets)
def test_a_range_of_a_file_is_read_in_chunks(large: Path, start: int, length: int | None) -> None:
    chunks = list(read_chunks(large, start=start, length=length))
    assert b"".join(chunks) == DATA[start : len(DATA) if length is None else start + length]
    assert all(0 < len(chunk) <= CHUNK for chunk in chunks)


def test_a_file_is_not_read_further_than_it_is_asked_for(large: Path) -> None:
    chunks: Iterator[bytes] = read_chunks(large)
    assert len(next(chunks)) == CHUNK
    assert list(read_chunks(large, length=0)) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_no_space(tmp_path: Path, number: int) -> None:
    with pytest.raises(NoSpace, match=str(tmp_path)) as full, disk_errors(tmp_path):
        raise OSError(number, os.strerror(number))
    assert isinstance(full.value.__cause__, OSError)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EROFS])
def test_what_the_system_refuses_is_said_with_its_reason(tmp_path: Path, number: int) -> None:
    with pytest.raises(DiskError, match=os.strerror(number).lower()), disk_errors(tmp_path):
        raise OSError(number, os.strerror(number))


def test_other_errors_pass_through(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), disk_errors(tmp_path):
        raise ZeroDivisionError


def test_ctrl_c_at_any_moment_leaves_no_part(tmp_path: Path) -> None:
    """At each step of the interpreter from before there is a part file until after it is closed."""
    # What is raised between two steps can leave the interpreter handling an error for ever: not in this process.
    child = get_context("fork").Process(target=interrupt_everywhere, args=(tmp_path,))
    child.start()
    child.join()
    assert child.exitcode == 0


def interrupt_everywhere(folder: Path) -> None:
    moment = 1
    while interrupted(folder, moment):
        assert not list(folder.iterdir()), f"after {moment} steps"
        moment += 1
    assert moment > 100


def interrupted(folder: Path, steps: int) -> bool:
    """Whether Ctrl-C came before a part file was made, written and closed in `folder`; it comes after so many steps."""
    left = steps

    def trace(frame: FrameType, event: str, _: object) -> object:
        nonlocal left
        if frame.f_code is PartFile.__del__.__code__:
            sys.settrace(None)  # what is raised there, Python only tells of
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    def work() -> None:
        with PartFile.beside(folder, size=10) as part:
            part.write(b"x")

    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False
