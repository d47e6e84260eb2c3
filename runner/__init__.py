"""Models that answer: prompts become tokens, tokens become text.

Loading one is `llstore.runner.llama.LlamaModel`: that module is the only one that imports llama_cpp, and importing
this package does not import it.
"""

from typing import TYPE_CHECKING

from ..store.lazy import lazily

if TYPE_CHECKING:
    from .chat.prompt import Message, chat_prompt, raw_prompt
    from .engine_settings import EngineSettings
    from .errors import (
        DecodeFailed,
        ExtraMissing,
        InvalidEngine,
        InvalidReceipt,
        InvalidSampling,
        InvalidTool,
        LoadFailed,
        NoRoom,
        PromptEmpty,
        PromptTooLong,
        QueueFull,
        RunnerError,
        TemplateFailed,
    )
    from .generate import Generation, Generator
    from .sampling import Sampling
    from .text import TextStream
else:
    __getattr__ = lazily(
        __name__,
        {
            "DecodeFailed": "errors",
            "EngineSettings": "engine_settings",
            "ExtraMissing": "errors",
            "Generation": "generate",
            "Generator": "generate",
            "InvalidEngine": "errors",
            "InvalidReceipt": "errors",
            "InvalidSampling": "errors",
            "InvalidTool": "errors",
            "LoadFailed": "errors",
            "Message": "chat.prompt",
            "NoRoom": "errors",
            "PromptEmpty": "errors",
            "PromptTooLong": "errors",
            "QueueFull": "errors",
            "RunnerError": "errors",
            "Sampling": "sampling",
            "TemplateFailed": "errors",
            "TextStream": "text",
            "chat_prompt": "chat.prompt",
            "raw_prompt": "chat.prompt",
        },
    )

__all__ = [
    "DecodeFailed",
    "EngineSettings",
    "ExtraMissing",
    "Generation",
    "Generator",
    "InvalidEngine",
    "InvalidReceipt",
    "InvalidSampling",
    "InvalidTool",
    "LoadFailed",
    "Message",
    "NoRoom",
    "PromptEmpty",
    "PromptTooLong",
    "QueueFull",
    "RunnerError",
    "Sampling",
    "TemplateFailed",
    "TextStream",
    "chat_prompt",
    "raw_prompt",
]
