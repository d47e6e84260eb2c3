"""The settings of one command: flags, then LLSTORE_* variables, then the project's file, then the user's."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from ..store import Pace, Settings
from ..store.errors import FileNotThere
from ..store.lock import FILE as LOCK_FILE
from ..store.lock import Wanted, parse_models
from ..store.sizes import parse_size
from ..store.store import MOST_CONNECTIONS

FILE = "llstore.toml"
_USER_KEYS = {"store", "offline", "cache", "transfer", "serve"}
_TABLES = {
    "cache": {"max_bytes"},
    "transfer": {"connections", "max_rate", "timeout"},
    "serve": {
        *("queue", "connections", "max_body", "max_head", "hosts", "log_prompts"),
        *("drain", "head_seconds", "body_seconds", "stall_seconds", "idle_seconds"),
    },
}
_SERVE_SIZES = ("max_body", "max_head")
_SERVE_NONE = ("queue", "drain")  # may be 0
_SERVE_NUMBERS = ("queue", "connections", "drain", "head_seconds", "body_seconds", "stall_seconds", "idle_seconds")
# A project's file comes with a checkout: it may say what to use, not how safely or where to keep it.
_TRUST = {"profile", "ca"}
_PROJECT_KEYS = {"store", "models"}


class InvalidSettings(Exception):
    """A settings file or variable that cannot be used."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Project:
    """A project's folder, and the models that its llstore.toml wants."""

    folder: Path
    wanted: tuple[Wanted, ...]

    @property
    def lock(self) -> Path:
        """Where its lock lies."""
        return self.folder / LOCK_FILE


def project() -> Project:
    """The project of the working folder; raises FileNotThere when there is none, InvalidSettings, InvalidProject."""
    path = _project_file()
    if not path.is_file():
        raise FileNotThere(f"no {FILE} in {path.parent} or above it", hint="it says what a project wants: docs/ci.md")
    return Project(path.parent, parse_models(_read(path, _PROJECT_KEYS).get("models")))


def load(*, store: str | None, offline: bool) -> Settings:
    """The settings, with the flags `--store` and `--offline` as given."""
    config, cache, data = _folders()
    user = _read(config / FILE, _USER_KEYS)
    project = _read(_project_file(), _PROJECT_KEYS)
    url = store or os.environ.get("LLSTORE_STORE") or project.get("store") or user.get("store")
    if url is not None and not isinstance(url, str):
        raise InvalidSettings(f"store must be a URL in quotes, not {url!r}")
    _refuse_trust(project.get("store"))
    away = offline or _switch("LLSTORE_OFFLINE") or user.get("offline") is True
    return Settings(
        cache=cache,
        data=data,
        url=url,
        offline=away,
        cache_max_bytes=_size("cache.max_bytes", _table(user, "cache")),
        pace=_pace(_table(user, "transfer")),
    )


def _refuse_trust(url: object) -> None:
    # A checkout says where models are; whose credentials go there, and whom to believe, this machine says.
    chosen = _TRUST & set(parse_qs(url.partition("?")[2])) if isinstance(url, str) else set()
    if chosen:
        raise InvalidSettings(
            f"the store of a project's {FILE} may not choose {', '.join(sorted(chosen))}",
            hint="set LLSTORE_STORE, or the store in your own config file",
        )


def serve_table() -> dict[str, Any]:
    """What the user's own file says of serving; raises InvalidSettings."""
    found = _table(_read(_folders()[0] / FILE, _USER_KEYS), "serve")
    numbers = {
        name: _number(f"serve.{name}", found, 0.0, zero=name in _SERVE_NONE) for name in _SERVE_NUMBERS if name in found
    }
    sizes = {name: _size(f"serve.{name}", found) for name in _SERVE_SIZES if name in found}
    hosts = found.get("hosts", [])
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        raise InvalidSettings("serve.hosts must be a list of names in quotes")
    if not isinstance(found.get("log_prompts", False), bool):
        raise InvalidSettings("serve.log_prompts must be true or false")
    return {**found, **numbers, **sizes}


def data_folder() -> Path:
    """Where this machine keeps what is neither cache nor store."""
    return _folders()[2]


def cores_folder() -> Path:
    """Where this machine's engines agree on who computes."""
    return data_folder() / "cores"


def ollama_folders() -> list[Path]:
    """Where Ollama keeps its models: where OLLAMA_MODELS says, or where it puts them by itself."""
    told = os.environ.get("OLLAMA_MODELS")
    usual = [Path.home() / ".ollama/models", Path("/usr/share/ollama/.ollama/models")]
    return [Path(told)] if told else usual


def _table(user: dict[str, Any], name: str) -> dict[str, Any]:
    found = user.get(name, {})
    if not isinstance(found, dict) or set(found) - _TABLES[name]:
        raise InvalidSettings(f"[{name}] is a table that may set {', '.join(sorted(_TABLES[name]))}")
    return found


def _pace(table: dict[str, Any]) -> Pace:
    usual = Pace()
    connections = _number("transfer.connections", table, usual.connections)
    if not 1 <= connections <= MOST_CONNECTIONS or connections != int(connections):
        raise InvalidSettings(f"transfer.connections must be a number from 1 to {MOST_CONNECTIONS}")
    return Pace(
        connections=int(connections),
        rate=_size("transfer.max_rate", table),
        timeout=_number("transfer.timeout", table, usual.timeout),
    )


def _number(name: str, table: dict[str, Any], usual: float, *, zero: bool = False) -> float:
    name, found = _given(name, table)
    try:
        number = usual if found is None else float(found)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < float("inf") or (number == 0 and not zero):
        raise InvalidSettings(f"{name} must be a number {'from 0 on' if zero else 'above 0'}, not {found!r}")
    return number


def _size(name: str, table: dict[str, Any]) -> int | None:
    name, found = _given(name, table)
    if found is None:
        return None
    try:
        size = found if type(found) is int else parse_size(found)
    except (TypeError, ValueError, AttributeError):
        size = 0
    if size <= 0:
        raise InvalidSettings(f"{name} must be a size, not {found!r}", hint='for example "50GB" or "50GiB"')
    return size


def _given(name: str, table: dict[str, Any]) -> tuple[str, Any]:
    """What is set, and under which name: cache.max_bytes is LLSTORE_CACHE_MAX_BYTES in the environment."""
    variable = "LLSTORE_" + name.replace(".", "_").upper()
    found = os.environ.get(variable)
    return (variable, found) if found else (name, table.get(name.partition(".")[2]))


def _folders() -> tuple[Path, Path, Path]:
    home = os.environ.get("LLSTORE_HOME")
    if home:
        root = Path(home).absolute()
        return root / "config", root / "cache", root / "data"
    from platformdirs import PlatformDirs

    dirs = PlatformDirs("llstore", appauthor=False)
    try:
        return dirs.user_config_path, dirs.user_cache_path, dirs.user_data_path
    except RuntimeError as error:  # a user without HOME and without an entry in passwd, as in a container
        raise InvalidSettings("this user has no home folder", hint="set HOME or LLSTORE_HOME to a folder") from error


def _switch(variable: str) -> bool:
    value = os.environ.get(variable, "").lower()
    if value not in ("", "0", "1", "false", "true", "no", "yes"):
        raise InvalidSettings(f"{variable} must be 0 or 1, not {value!r}")
    return value in ("1", "true", "yes")


def _project_file() -> Path:
    here = Path.cwd()
    found = (folder / FILE for folder in (here, *here.parents) if (folder / FILE).is_file())
    return next(found, here / FILE)


def _read(path: Path, allowed: set[str]) -> dict[str, Any]:
    if not path.is_file():
        return {}
    import tomllib

    try:
        found = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InvalidSettings(f"cannot read {path}: {error}") from error
    if unknown := sorted(set(found) - allowed):
        hint = f"it may set {', '.join(sorted(allowed))}"
        if elsewhere := sorted(set(unknown) & _USER_KEYS):
            hint += f"; {_folders()[0] / FILE} may set {', '.join(elsewhere)}"
        raise InvalidSettings(f"{path} may not set {', '.join(unknown)}", hint=hint)
    return found
