"""The house: cli -> runner -> store, never back; and each heavy library has one door."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {"store": {"store"}, "runner": {"runner", "store"}, "cli": {"cli", "runner", "store"}}
DOORS = {
    "llama_cpp": {"runner/llama/library.py"},
    "jinja2": {"runner/chat/sandbox.py", "runner/chat/lint.py"},
    "boto3": {"store/backends/s3.py"},
    "botocore": {f"store/backends/{name}.py" for name in ("s3", "s3_errors", "s3_signed")},
    "urllib3": {"store/backends/wire.py", "store/backends/s3_errors.py"},
    "huggingface_hub": {"store/exchange/hub.py"},
    "matplotlib": {"runner/bench/plot.py"},
    "prometheus_client": {"runner/observe/metrics.py"},
    "httpx": {"runner/client/door.py"},
    "sqlalchemy": {f"store/catalog/{name}.py" for name in ("catalog", "file", "tables", "where")},
    "rich": {"cli/bars.py"},
    **{
        library: {path.relative_to(ROOT).as_posix() for path in (ROOT / "runner/http").rglob("*.py")}
        for library in ("fastapi", "pydantic", "starlette", "uvicorn", "uvloop")
    },
    "typer": {path.relative_to(ROOT).as_posix() for path in (ROOT / "cli").glob("*.py")},
}


@cache
def imports(path: Path) -> list[str]:
    """The modules a file imports, relative ones as paths from the root: store.digest."""
    package = path.relative_to(ROOT).with_suffix("").parts
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            found += [module] if node.module else [f"{module}.{alias.name}".lstrip(".") for alias in node.names]
    return found


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_no_room_imports_backwards(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        for module in imports(path):
            top = module.partition(".")[0]
            assert top not in MAY_IMPORT or top in MAY_IMPORT[room], f"{path} imports {module}"
            assert top != "llstore", f"{path} imports {module} by its full name"


@pytest.mark.parametrize("library", DOORS)
def test_a_heavy_library_has_one_door(library: str) -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for room in MAY_IMPORT
        for path in (ROOT / room).rglob("*.py")
        if any(module.partition(".")[0] == library for module in imports(path))
    }
    assert users <= DOORS[library]


def loaded(*arguments: str, home: Path) -> set[str]:
    """The modules that a command loads."""
    code = (
        "import sys, runpy, atexit\n"
        "atexit.register(lambda: print('\\n'.join(sys.modules), file=sys.stderr))\n"
        f"sys.argv = ['llstore', *{list(arguments)!r}]\n"
        "runpy.run_module('llstore.cli', run_name='__main__')"
    )
    import os

    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "LLSTORE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    return {module.partition(".")[0] for module in ran.stderr.split()}


def test_help_loads_nothing_heavy(home: Path) -> None:
    heavy = {"llama_cpp", "jinja2", "numpy", "boto3", "botocore", "sqlalchemy", "rich", "huggingface_hub", "matplotlib"}
    assert not loaded("--help", home=home) & heavy


def test_a_cache_hit_by_full_digest_loads_neither_sqlalchemy_nor_boto3(home: Path, tiny: Path, bucket: str) -> None:
    store = ("--store", bucket)
    loaded("put", str(tiny), "--name", "t/t", *store, home=home)
    loaded("get", "t/t", *store, home=home)
    import hashlib

    digest = hashlib.sha256(tiny.read_bytes()).hexdigest()
    hit = loaded("get", digest, *store, home=home)
    assert not hit & {"sqlalchemy", "boto3", "botocore", "llama_cpp"}
    assert "sqlite3" in hit


def test_a_warm_sync_loads_neither_sqlalchemy_nor_boto3(
    home: Path, tiny: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "llstore.toml").write_text(f'store = "{bucket}"\n[models]\nchat = "t/t"\n')
    monkeypatch.chdir(tmp_path)
    loaded("put", str(tiny), "--name", "t/t", home=home)
    loaded("sync", home=home)
    warm = loaded("sync", "--frozen", home=home)
    assert not warm & {"sqlalchemy", "boto3", "botocore", "urllib3", "llama_cpp"}
    assert "tomllib" in warm
