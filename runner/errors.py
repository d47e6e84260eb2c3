"""What running a model can fail with. No error of llama_cpp, jinja2 or ctypes leaves this room.

RunnerError
├── ExtraMissing     llama-cpp-python, jinja2, matplotlib or httpx is not installed
├── LoadFailed       llama.cpp cannot load the file, or has no room for its context
├── KernelsBroken    the installed llama.cpp fails on this processor, whatever is switched off
├── InvalidSampling  a sampling setting is out of range
├── InvalidEngine    a setting of the engine is out of range
├── NoRoom           a model and its context do not fit the memory that is free
├── InvalidReceipt   a file is not a run receipt, or contradicts itself
├── InvalidLine      a line of a batch that cannot be answered
├── OtherBatch       a batch's output belongs to another input, model or settings
├── BatchBusy        a batch's output is being written by another process
├── InvalidTool      a tool, or a call of one, that cannot be handed to a model
├── TemplateFailed   a chat template is broken, hostile, too slow or too large
├── PromptEmpty      a prompt of no tokens
├── PromptTooLong    a prompt that leaves no room in the context
├── QueueFull        an engine has as many requests waiting as it may
├── ModelNotServed   a caller asks a server for a model that it does not serve
├── Draining         a server is about to stop, and takes no more requests
├── ProcessDied      a signal has ended the process in which llama.cpp computed
├── EngineCrashed    an engine's process crashes again and again
├── EngineStopped    an engine was closed, or is about to be
├── InvalidMessage   what an engine's process said, or is to be told, is not a message between the two
├── DecodeFailed     llama.cpp could not compute the next token
├── InvalidTenant    a tenant's name or one of its limits is out of range
├── InvalidKey       a key that cannot be made or rotated so
├── NoSuchKey        no key with this id
├── NoSuchTenant     no tenant of this name
├── KeyFileDamaged   the file of keys and tenants is not one, or not whole
├── OverLimit        a tenant has used what it may, for now or for good
├── InvalidLoad      a load or a limit of a benchmark makes no sense
├── PeerFailed       another program that was to be measured is missing or failed
├── InvalidCall      what a client is asked to send, or where to, makes no sense
├── ServerUnreachable    no server answers at that address
│   └── ServerSilent     a server sends nothing for longer than the client waits
├── AnswerBroken     an answer broke off, or is not what a server of ours says
└── ServerRefused    a server answers with an error
    ├── NotAuthorized    the key is missing or wrong, or may not do this
    ├── NotServed        the server has no such model or path
    ├── RateLimited      too many requests or tokens of this key
    ├── Overloaded       the server, or a proxy before it, is too busy or not up
    └── ServerFailed     the fault is the server's own
"""

import math
from dataclasses import dataclass


class RunnerError(Exception):
    """Something failed: the message says what, on what; the hint says what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ExtraMissing(RunnerError):
    """A library that an extra brings is not installed; `library` is its name on PyPI."""

    def __init__(self, library: str, *, extra: str = "run") -> None:
        super().__init__(f"{library} is not installed", hint=f"pip install 'llstore[{extra}]'")
        self.library = library


class LoadFailed(RunnerError):
    """llama.cpp cannot load the file or has no room for its context; the message carries what it logged."""


class KernelsBroken(RunnerError):
    """The installed llama.cpp fails on this processor whatever is switched off; `died` says how, with which weights."""

    def __init__(self, died: str, *, hint: str) -> None:
        super().__init__(
            f"the installed llama.cpp fails on this processor: {died}, whatever is switched off", hint=hint
        )


class InvalidSampling(RunnerError):
    """A sampling setting is out of range; the message names it, its value and what is allowed."""


class InvalidEngine(RunnerError):
    """A setting of the engine is out of range; the message names it, its value and what is allowed."""


class NoRoom(RunnerError):
    """A model and the context asked for do not fit the memory that is free; the hint says what would."""


class InvalidReceipt(RunnerError):
    """A file is not a run receipt, or what it holds contradicts its digests."""


class InvalidLine(RunnerError):
    """A line of a batch that cannot be answered; the message says what is wrong with it."""


class OtherBatch(RunnerError):
    """A batch's output belongs to another input, model or settings, or was changed by somebody else."""


class BatchBusy(RunnerError):
    """A batch's output is being written by another process."""


class InvalidTool(RunnerError):
    """A tool, or a call of one, that cannot be handed to a model; the message names it and what is wrong."""


class TemplateFailed(RunnerError):
    """A chat template is broken, hostile, too slow or too large, or cannot render these messages."""


class PromptEmpty(RunnerError):
    """A prompt of no tokens: there is nothing to continue."""


class PromptTooLong(RunnerError):
    """The prompt and one more token are more than the context holds; both are numbers of tokens."""

    def __init__(self, prompt_tokens: int, context_length: int) -> None:
        super().__init__(f"the prompt has {prompt_tokens} tokens, the context holds {context_length}")
        self.prompt_tokens = prompt_tokens
        self.context_length = context_length


class QueueFull(RunnerError):
    """An engine has as many requests waiting as it may; `retry_after` is in seconds."""

    def __init__(self, waiting: int, retry_after: float) -> None:
        super().__init__(f"{waiting} requests are there already", hint=f"try again in {retry_after:.0f} s")
        self.waiting = waiting
        self.retry_after = retry_after


class ModelNotServed(RunnerError):
    """A caller asks for a model that is not served, or not for it; `near` are names of some that are."""

    def __init__(self, asked: str | None, near: tuple[str, ...]) -> None:
        said = f"the model {asked[:200]!r} is not served here" if asked else "no model is named"
        super().__init__(said, hint=f"there is {', '.join(near)}" if near else "there is none that this key may use")
        self.near = ", ".join(near)


class Draining(RunnerError):
    """A server finishes what it has taken on, and takes no more; `retry_after` is in seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("the server is about to stop", hint="another one may take it, or this one when it is back")
        self.retry_after = retry_after


class ProcessDied(RunnerError):
    """A signal has ended the process in which llama.cpp computed; the message says which, and what it was at.

    `generating`: it had said a part of its answer.
    """

    def __init__(self, message: str, *, hint: str = "", generating: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.generating = generating


class EngineCrashed(RunnerError):
    """An engine's process crashed and was not started again, or not in time; the message says how it ended."""


class EngineStopped(RunnerError):
    """The engine was closed, or takes no more requests because it is about to be."""


class InvalidMessage(RunnerError):
    """What went between an engine and its process is no message of their protocol, or too large to be one."""


class DecodeFailed(RunnerError):
    """llama.cpp could not compute the next token."""


class InvalidTenant(RunnerError):
    """A tenant's name or one of its limits is out of range; the message names it, its value and what is allowed."""


class InvalidKey(RunnerError):
    """A key that cannot be made or rotated so; the message says why."""


class NoSuchKey(RunnerError):
    """No key with this id."""


class NoSuchTenant(RunnerError):
    """No tenant of this name."""


class KeyFileDamaged(RunnerError):
    """The file of keys and tenants is not one, or not whole. It is never rebuilt: without it, all keys are lost."""


class OverLimit(RunnerError):
    """A tenant has used what it may. `limit` is requests, tokens or concurrency.

    After `retry_after` seconds the request would be admitted if nobody else asks; None: it is larger than the whole
    limit, and can never be.
    """

    def __init__(self, message: str, *, limit: str, retry_after: float | None) -> None:
        hint = "name a smaller max_tokens" if retry_after is None else f"try again in {math.ceil(retry_after)} s"
        super().__init__(message, hint=hint)
        self.limit = limit
        self.retry_after = retry_after


class InvalidLoad(RunnerError):
    """A load or a limit of a benchmark makes no sense; the message names it."""


class PeerFailed(RunnerError):
    """Another program that was to be measured beside us is missing, or failed; the message carries what it said."""


class InvalidCall(RunnerError):
    """What a client is asked to send, or where to, makes no sense; the message names it. Nothing was sent."""


class ServerUnreachable(RunnerError):
    """No server answers at that address. `repeatable` when another attempt may find one."""

    def __init__(self, message: str, *, hint: str = "", repeatable: bool = True) -> None:
        super().__init__(message, hint=hint)
        self.repeatable = repeatable


class ServerSilent(ServerUnreachable):
    """A server took the request and then sent nothing for longer than the client waits."""


class AnswerBroken(RunnerError):
    """An answer broke off, or is not what a server of ours says."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a server says when it refuses: its HTTP status and OpenAI's error object.

    `retry_after` is in seconds, None when it does not say; `request_id` finds the request in the server's log.
    """

    status: int
    message: str
    kind: str = ""
    param: str | None = None
    code: str | None = None
    retry_after: float | None = None
    request_id: str | None = None


class ServerRefused(RunnerError):
    """A server answers with an error: the attributes are those of Refusal. As it stands: the request is at fault."""

    def __init__(self, refusal: Refusal, *, hint: str = "") -> None:
        super().__init__(f"the server answers {refusal.status}: {refusal.message}", hint=hint)
        self.status = refusal.status
        self.kind = refusal.kind
        self.param = refusal.param
        self.code = refusal.code
        self.retry_after = refusal.retry_after
        self.request_id = refusal.request_id


class NotAuthorized(ServerRefused):
    """The key is missing or wrong (401), or may not do this (403)."""


class NotServed(ServerRefused):
    """The server has no such model or path (404)."""


class RateLimited(ServerRefused):
    """Too many requests or tokens of this key (429); `retry_after` says in how many seconds there may be more."""


class Overloaded(ServerRefused):
    """The server, or a proxy before it, is too busy or not up (502, 503, 504); `retry_after` is in seconds."""


class ServerFailed(ServerRefused):
    """The fault is the server's own (500 and its kin)."""
