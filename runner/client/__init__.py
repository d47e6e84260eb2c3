"""What a program says to a `llstore serve`, over HTTP (docs/client.md). Needs httpx, and nothing that runs models."""

from typing import TYPE_CHECKING

from ...store.lazy import lazily

if TYPE_CHECKING:
    from .aio import AsyncCompletionStream, AsyncInferenceClient
    from .completion import Completion, ServedModel, ToolCall
    from .options import ClientOptions
    from .sync import CompletionStream, InferenceClient
else:
    __getattr__ = lazily(
        __name__,
        {
            "AsyncCompletionStream": "aio",
            "AsyncInferenceClient": "aio",
            "ClientOptions": "options",
            "Completion": "completion",
            "CompletionStream": "sync",
            "InferenceClient": "sync",
            "ServedModel": "completion",
            "ToolCall": "completion",
        },
    )

__all__ = [
    "AsyncCompletionStream",
    "AsyncInferenceClient",
    "ClientOptions",
    "Completion",
    "CompletionStream",
    "InferenceClient",
    "ServedModel",
    "ToolCall",
]
