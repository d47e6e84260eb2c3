"""Which llama.cpp is installed and what it can use of this machine: read from the library, not guessed."""

import ctypes
from dataclasses import dataclass
from typing import Any

from ...store.sizes import human_size
from .library import VERSION, ll

GPU, INTEGRATED = 1, 2  # enum ggml_backend_dev_type


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU that llama.cpp can use; memory is in bytes. An integrated one takes it from the host's."""

    name: str
    description: str
    memory_free: int
    memory_total: int
    integrated: bool = False

    def __str__(self) -> str:
        kind = ", integrated" if self.integrated else ""
        memory = f"{human_size(self.memory_free)} free of {human_size(self.memory_total)}"
        return f"{self.name}: {self.description}, {memory}{kind}"


@dataclass(frozen=True, slots=True)
class Build:
    """The installed llama.cpp: `version` is llama-cpp-python's, `cpu_features` what it was built to use. `backends` are
    those in it, by llama.cpp's names (CPU, CUDA, ROCm, Vulkan, SYCL, MTL), also those that find no device."""

    version: str
    system_info: str
    cpu_features: tuple[str, ...]
    gpu_offload: bool
    backends: tuple[str, ...]
    devices: tuple[Device, ...]


def build() -> Build:
    """What is installed."""
    info = ll.llama_print_system_info().decode("utf-8", errors="replace").strip(" |")
    return Build(
        version=VERSION,
        system_info=info,
        cpu_features=cpu_features(info),
        gpu_offload=bool(ll.llama_supports_gpu_offload()),
        backends=_backends(),
        devices=tuple(_device(pointer) for pointer in _gpus()),
    )


def cpu_features(system_info: str) -> tuple[str, ...]:
    """The names that are 1 in the CPU's part of `CUDA : ARCHS = 900 | CPU : AVX2 = 1 | …`."""
    found: list[str] = []
    backend = ""
    for part in system_info.split("|"):
        head, colon, rest = part.partition(":")
        backend = head.strip() if colon else backend
        name, _, value = (rest if colon else part).partition("=")
        if backend == "CPU" and value.strip() == "1":
            found.append(name.strip())
    return tuple(found)


def _ggml(name: str, result: Any, *arguments: Any) -> Any:
    """A function of ggml; llama-cpp-python declares none of those for backends, but its library links them."""
    function = getattr(ll._lib, f"ggml_backend_{name}")
    function.restype, function.argtypes = result, list(arguments)
    return function


def _backends() -> tuple[str, ...]:
    count = _ggml("reg_count", ctypes.c_size_t)()
    get = _ggml("reg_get", ctypes.c_void_p, ctypes.c_size_t)
    name = _ggml("reg_name", ctypes.c_char_p, ctypes.c_void_p)
    return tuple(name(get(index)).decode() for index in range(count))


def _gpus() -> list[int]:
    count = _ggml("dev_count", ctypes.c_size_t)()
    get = _ggml("dev_get", ctypes.c_void_p, ctypes.c_size_t)
    kind = _ggml("dev_type", ctypes.c_int, ctypes.c_void_p)
    return [pointer for pointer in map(get, range(count)) if kind(pointer) in (GPU, INTEGRATED)]


def _device(pointer: int) -> Device:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    size = ctypes.POINTER(ctypes.c_size_t)
    _ggml("dev_memory", None, ctypes.c_void_p, size, size)(pointer, ctypes.byref(free), ctypes.byref(total))
    name, description = (
        _ggml(f"dev_{what}", ctypes.c_char_p, ctypes.c_void_p)(pointer) for what in ("name", "description")
    )
    integrated = _ggml("dev_type", ctypes.c_int, ctypes.c_void_p)(pointer) == INTEGRATED
    return Device(name, description, free.value, total.value, integrated)
