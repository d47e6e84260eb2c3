"""Models that answer: prompts become tokens, tokens become text.

Loading one is `llstore.runner.llama.LlamaModel`: that module is the only one that imports llama_cpp, and importing
this package does not import it.
"""

from .chat.prompt import Message, chat_prompt, raw_prompt
from .engine_settings import EngineSettings
from .errors import (
    DecodeFailed,
    ExtraMissing,
    InvalidEngine,
    InvalidReceipt,
    InvalidSampling,
    LoadFailed,
    PromptEmpty,
    PromptTooLong,
    QueueFull,
    RunnerError,
    TemplateFailed,
)
from .generate import Generation, Generator
from .sampling import Sampling
from .text import TextStream

__all__ = [
    "DecodeFailed",
    "EngineSettings",
    "ExtraMissing",
    "Generation",
    "Generator",
    "InvalidEngine",
    "InvalidReceipt",
    "InvalidSampling",
    "LoadFailed",
    "Message",
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
