"""The door to llama.cpp: its C functions, as ctypes declares them. No other module imports llama_cpp.

Some calls abort the process instead of failing; the classes of this folder check what would lead there first.
"""

import ctypes
from typing import Any

from ..errors import ExtraMissing, LoadFailed
from ..libraries import library_folder, library_hint, require_whole_libraries
from ..notes import notes
from .log import ErrorLines

require_whole_libraries()
try:
    import llama_cpp.llama_cpp
except ImportError as error:
    raise ExtraMissing("llama-cpp-python") from error
except (OSError, RuntimeError) as error:  # its shared library is not there, or the system cannot load it
    raise LoadFailed(
        f"llama.cpp's library in {library_folder()} cannot be loaded: {error}", hint=library_hint()
    ) from error

VERSION: str = llama_cpp.__version__
ll: Any = llama_cpp.llama_cpp
# The same library, called with the GIL held: to let go of it and wait for it again takes longer than a short call.
quick: Any = ctypes.PyDLL(ll._lib._name)
for _name in (
    "llama_sampler_apply",
    "llama_sampler_accept",
    "llama_vocab_is_eog",
    "llama_vocab_get_suppress_tokens",
):
    _declared, _quick = getattr(ll._lib, _name), getattr(quick, _name)
    _quick.argtypes, _quick.restype = _declared.argtypes, _declared.restype

errors_logged = ErrorLines()
# llama.cpp keeps these pointers for good, so the objects must live as long as the process.
_log_callback = ll.llama_log_callback(lambda level, text, _: errors_logged.write(level, text))
ll.llama_log_set(_log_callback, None)
# llama-cpp-python declares no function of ggml, but its library links them.
_abort_callback = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(lambda message: notes.aborted(message or b""))
ll._lib.ggml_set_abort_callback(_abort_callback)
ll.llama_backend_init()
