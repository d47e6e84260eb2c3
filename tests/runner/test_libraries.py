"""llama.cpp's libraries are looked at before they are loaded: one that is cut off would end the process."""

from pathlib import Path

import pytest

from llstore.runner.errors import LoadFailed
from llstore.runner.libraries import VARIABLE, library_folder, loaded_bytes, require_whole_libraries


@pytest.fixture
def real() -> Path:
    found = sorted(library_folder().glob("libllama.so*"))
    if not found:
        pytest.skip("these libraries are no ELF files")
    return found[0]


def test_the_installed_libraries_are_whole(real: Path) -> None:
    require_whole_libraries()
    assert 0 < loaded_bytes(real.read_bytes()[:4096]) <= real.stat().st_size


@pytest.mark.parametrize("kept", [5000, 0.5, -100_000])
def test_one_that_is_cut_off_is_said_to_be(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: float
) -> None:
    data = real.read_bytes()
    needed = loaded_bytes(data[:4096])
    size = int(kept * needed) if 0 < kept < 1 else int(kept) % needed
    (tmp_path / "libllama.so").write_bytes(data[:size])
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(LoadFailed, match=rf"libllama\.so is cut off after {size} of {needed} bytes") as refused:
        require_whole_libraries()
    assert refused.value.hint == f"{VARIABLE} names the folder: leave it out, or name another"


@pytest.mark.parametrize("head", [b"", b"\x7fELF", b"\x7fELF\x02\x01" + bytes(58), b"\xcf\xfa\xed\xfe" + bytes(4092)])
def test_what_tells_nothing_is_left_to_the_loader(head: bytes) -> None:
    assert loaded_bytes(head) == 0
