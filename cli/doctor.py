"""`llstore doctor`."""

import platform
import time

import typer

from ..runner.errors import ExtraMissing, RunnerError
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
        runner_facts, broken = _runner()
        facts = {"versions": _versions(), "runner": runner_facts, "store": store_facts}
    if json:
        print_json(facts)
    else:
        for section, lines in facts.items():
            for key, value in lines.items():
                shown = (", ".join(map(str, value)) or "none") if isinstance(value, list) else value
                print(f"{section + ' ' + key + ':':28}{shown}")
    raise typer.Exit(broken or code)


def _versions() -> dict[str, object]:
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, object] = {"python": platform.python_version(), "system": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _runner() -> tuple[dict[str, object], int]:
    try:
        from ..runner.llama.build import build
    except ExtraMissing as error:
        return _not_ready(error), 0
    except RunnerError as error:
        return _not_ready(error), exit_code(error)
    made = build()
    facts: dict[str, object] = {
        "backends": list(made.backends),
        "cpu": list(made.cpu_features),
        "gpu_offload": made.gpu_offload,
        "gpu": [str(device) for device in made.devices],
    }
    try:
        off = _switched_off(gpu=made.gpu_offload and bool(made.devices))
    except RunnerError as error:
        return {**_not_ready(error), **facts}, exit_code(error)
    return {"ready": True, **facts, "switched_off": off}, 0


def _not_ready(error: RunnerError) -> dict[str, object]:
    return {"ready": False, "reason": f"{error} ({error.hint})" if error.hint else str(error)}


def _switched_off(*, gpu: bool) -> list[str]:
    """What fails here, by type of weights: all is tried anew."""
    from ..runner.engine_settings import EngineSettings
    from ..runner.kernels.kernel_check import SURVEYED
    from .placing import kernel_check

    # What engines use, and what `run` does.
    settings = [EngineSettings(1, flash_attention=flash, gpu_layers=int(gpu)) for flash in (True, False)]
    weights: dict[str, list[str]] = {}
    for kind, off in sorted(kernel_check(quiet=True).survey(SURVEYED, *settings).items()):
        for switch in sorted(off):
            weights.setdefault(switch, []).append(kind)
    return [f"{switch} for {' '.join(kinds)}" for switch, kinds in weights.items()]


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
