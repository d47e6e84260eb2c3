"""Which programs made an answer, and on what kind of machine: what may make the next one differ."""

import platform
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .fields import Fields

if TYPE_CHECKING:
    from ..llama.build import Build


@dataclass(frozen=True, slots=True)
class BuildFacts:
    """The libraries' versions, llama.cpp's own account of its build, GPUs by name, the kind of processor, and the
    kernels that are switched off because they fail there."""

    llstore: str
    llama_cpp_python: str
    system_info: str
    cpu_features: tuple[str, ...]
    devices: tuple[str, ...]
    machine: str
    switched_off: tuple[str, ...] = ()

    @classmethod
    def of(cls, build: "Build", switched_off: frozenset[str] = frozenset()) -> "BuildFacts":
        """Those of this process."""
        from importlib.metadata import version

        return cls(
            llstore=version("llstore"),
            llama_cpp_python=build.version,
            system_info=build.system_info,
            cpu_features=build.cpu_features,
            devices=tuple(f"{device.name}: {device.description}" for device in build.devices),
            machine=platform.machine(),
            switched_off=tuple(sorted(switched_off)),
        )

    @classmethod
    def read(cls, fields: Fields) -> "BuildFacts":
        """Those in a receipt. Raises InvalidReceipt."""
        return cls(
            llstore=fields.text("llstore"),
            llama_cpp_python=fields.text("llama_cpp_python"),
            system_info=fields.text("system_info"),
            cpu_features=fields.texts("cpu_features"),
            devices=fields.texts("devices"),
            machine=fields.text("machine"),
            switched_off=fields.texts("switched_off"),
        )

    def document(self) -> dict[str, Any]:
        """As plain data. `switched_off` is left out when it is empty: readers of before it was thought of go on."""
        facts = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return facts if self.switched_off else {name: facts[name] for name in facts if name != "switched_off"}


def changes(then: BuildFacts, now: BuildFacts) -> tuple[str, ...]:
    """What differs between two builds, a few words each; nothing when they are the same."""
    found = [
        f"{label} {getattr(then, name)} then, {getattr(now, name)} now"
        for name, label in (("llstore", "llstore"), ("llama_cpp_python", "llama-cpp-python"), ("machine", "machine"))
        if getattr(then, name) != getattr(now, name)
    ]
    found += _gone_and_new("processor features", then.cpu_features, now.cpu_features)
    found += _gone_and_new("kernels switched off", then.switched_off, now.switched_off)
    if then.devices != now.devices:
        found.append(f"GPU {_joined(then.devices)} then, {_joined(now.devices)} now")
    if not found and then.system_info != now.system_info:
        found.append(f"llama.cpp's build {then.system_info!r} then, {now.system_info!r} now")
    return tuple(found)


def _gone_and_new(label: str, then: tuple[str, ...], now: tuple[str, ...]) -> list[str]:
    gone = [name for name in then if name not in now]
    new = [name for name in now if name not in then]
    words = ([f"{_joined(gone)} then only"] if gone else []) + ([f"{_joined(new)} now only"] if new else [])
    return [f"{label}: {'; '.join(words)}"] if words else []


def _joined(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names) or "none"
