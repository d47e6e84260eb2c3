"""llama.cpp, typed and guarded: nothing that aborts the process can be reached with bad arguments.

Importing this loads llama.cpp.
"""

from .model import LlamaModel, Loading

__all__ = ["LlamaModel", "Loading"]
