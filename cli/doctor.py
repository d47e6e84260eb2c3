"""`llstore doctor`."""

import platform
import time

import typer

from ..runner.errors import RunnerError
from ..store import Store, StoreError
from .failure import exit_code
from .options import JsonOption, OfflineOption, QuietOption, StoreOption
from .output import opened, print_json

_PACKAGES = ("llstore", "llama-cpp-python", "boto3", "sqlalchemy", "blake3")


def doctor(
    store: StoreOption = None, json: JsonOption = False, offline: OfflineOption = False, quiet: QuietOption = False
) -> None:
    """Say what this machine has and whether the store answers."""
    with opened(store, offline=offline, quiet=quiet) as found:
        store_facts, code = _store(found)
        facts = {"versions": _versions(), "runner": _runner(), "store": store_facts}
    if json:
        print_json(facts)
    else:
        for section, lines in facts.items():
            for key, value in lines.items():
                shown = ", ".join(map(str, value)) if isinstance(value, list) else value
                print(f"{section + ' ' + key + ':':28}{shown}")
    raise typer.Exit(code)


def _versions() -> dict[str, object]:
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, object] = {"python": platform.python_version(), "system": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _runner() -> dict[str, object]:
    try:
        from ..runner.llama.build import build
    except RunnerError as error:
        return {"ready": False, "reason": f"{error} ({getattr(error, 'hint', '')})"}
    made = build()
    return {
        "ready": True,
        "cpu": list(made.cpu_features),
        "gpu_offload": made.gpu_offload,
        "gpu": [str(device) for device in made.devices] or "none found",
    }


def _store(store: Store) -> tuple[dict[str, object], int]:
    facts: dict[str, object] = {"url": store.url, "cache": str(store.cache.root)}
    if store.offline:
        return {**facts, "reachable": "not tried (offline)"}, 0
    began = time.monotonic()
    try:
        state = "yes" if store.bucket.initialized else "yes, and empty"
    except StoreError as error:
        return {**facts, "reachable": f"no: {error}"}, exit_code(error)
    return {**facts, "reachable": state, "milliseconds": round(1000 * (time.monotonic() - began), 1)}, 0
