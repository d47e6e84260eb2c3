"""Whatever can be installed is pinned with its hashes, and no index is named."""

import re
import tomllib

from extras import known_extras, needs_llama
from locked import LOCK, ROOT, TOOLS, pins


def test_every_requirement_of_every_extra_is_locked_with_hashes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    names = {re.match(r"[A-Za-z0-9._-]+", each)[0].lower().replace("_", "-") for each in wanted} - {"llstore"}
    locked = pins(LOCK.read_text())
    assert names <= locked.keys()
    assert all(pin.hashes for pin in locked.values())


def test_what_installs_and_builds_is_locked_with_hashes() -> None:
    locked = pins(TOOLS.read_text())
    assert {"uv", "scikit-build-core", "cmake", "ninja", "setuptools"} <= locked.keys()
    assert all(pin.hashes for pin in locked.values())


def test_no_lock_names_an_index() -> None:
    for lock in (LOCK, TOOLS):
        assert "://" not in lock.read_text()


def test_a_pin_is_a_requirement_that_pip_verifies() -> None:
    hashes = [f"--hash=sha256:{digit * 64}" for digit in "01"]
    text = f"# head\na-b==1.0 ; python_full_version < '3.12' \\\n    {hashes[0]} \\\n    {hashes[1]}\nc==2\n"
    found = pins(text)
    assert found["a-b"].requirement == f"a-b==1.0 {' '.join(hashes)}"
    assert found["c"].hashes == ()


def test_llama_cpp_is_compiled_only_for_extras_that_want_it() -> None:
    assert {name for name in known_extras() if needs_llama([name])} == {"run", "serve", "all"}
    assert not needs_llama([])
