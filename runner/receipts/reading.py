"""From the bytes of a run receipt to a Receipt: nothing in it is believed before it was checked."""

import json
from datetime import datetime
from typing import Any, cast

from ...store.errors import FormatTooNew
from ...store.manifest import Role
from ..chat.ask import Ask, Chat, Raw
from ..engine_settings import EngineSettings
from ..errors import InvalidEngine, InvalidReceipt, InvalidSampling, InvalidTool, TemplateFailed
from ..generate import FinishReason
from ..sampling import MAX_SEED, Sampling
from .build_facts import BuildFacts
from .fields import Fields
from .messages import message, tool
from .receipt import FORMAT, KIND, Output, Reading, Receipt, UsedFile, UsedModel, tokens_digest

_UPGRADE = "upgrade: pip install -U llstore"
_NAMES = (
    *("kind", "format", "created", "model", "manifest", "files", "template", "adapters", "program", "prompt"),
    *("prompt_digest", "prompt_tokens", "prompt_tokens_digest", "sampling", "engine", "build", "output"),
)
# The fields of the first receipts; those that came later, with what they were before.
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "seed", "max_tokens", "stop")
_LATER_SAMPLING: dict[str, Any] = {
    **{"typical_p": 1.0, "repeat_penalty": 1.0, "repeat_last_n": 64, "frequency_penalty": 0.0},
    **{"presence_penalty": 0.0, "logit_bias": [], "stop_tokens": [], "ignore_eos": False, "logprobs": None},
    **{"grammar": None, "shown_tokens": []},
}
_BUILD = ("llstore", "llama_cpp_python", "system_info", "cpu_features", "devices", "machine")
_ENGINE = ("context_size", "threads", "batch_size", "flash_attention", "key_type", "value_type", "gpu_layers")
_LATER_ENGINE: dict[str, Any] = {
    "parallel": 1,
    "split": "layer",
    "repack": True,
    "unified": False,
    "swa_full": True,
    "exact": False,
}


def decode(data: bytes) -> Receipt:
    """The receipt in `data`. Raises InvalidReceipt or FormatTooNew."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidReceipt("it is not JSON") from error
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise InvalidReceipt(f"it does not say that its kind is {KIND}")
    _refuse_newer(document.get("format"))
    fields = Fields(document, *_NAMES)
    if fields.any("adapters") != [] or fields.any("program") is not None:
        raise FormatTooNew("it names adapters or a program, which this llstore does not run", hint=_UPGRADE)
    try:
        return _receipt(fields)
    except (InvalidSampling, InvalidEngine, InvalidTool, TemplateFailed) as error:
        raise InvalidReceipt(str(error)) from error
    except UnicodeEncodeError as error:
        raise InvalidReceipt("it holds half of a surrogate pair, which is no text") from error


def _refuse_newer(format_: object) -> None:
    if type(format_) is not int or format_ < 1:
        raise InvalidReceipt(f"its format is {format_!r:.40}")
    if format_ > FORMAT:
        raise FormatTooNew(f"it is of format {format_}, and this llstore reads {FORMAT}", hint=_UPGRADE)


def _receipt(fields: Fields) -> Receipt:
    receipt = Receipt(
        model=UsedModel(fields.digest("model"), fields.digest("manifest"), fields.items("files", _file)),
        ask=_ask(fields.inner("prompt", "messages", "raw", "clock", later={"tools": []})),
        reading=_reading(fields),
        sampling=_sampling(fields.inner("sampling", *_SAMPLING, later=_LATER_SAMPLING)),
        engine=_engine(fields.inner("engine", *_ENGINE, later=_LATER_ENGINE)),
        build=BuildFacts.read(fields.inner("build", *_BUILD, later={"switched_off": []})),
        output=_output(fields.inner("output", "tokens", "tokens_digest", "text", "finish_reason")),
        created=fields.whole("created", most=2**53),
    )
    if receipt.ask.digest != fields.digest("prompt_digest"):
        raise InvalidReceipt("prompt_digest is not that of its prompt")
    return receipt


def _file(value: object, path: str) -> UsedFile:
    fields = Fields(value, "role", "digest", where=path)
    try:
        return UsedFile(Role(fields.text("role")), fields.digest("digest"))
    except ValueError as error:
        raise InvalidReceipt(f"{path}.role is not one of a file") from error


def _ask(fields: Fields) -> Ask:
    if fields.any("messages") is None:
        for name, nothing in (("clock", None), ("tools", [])):
            if fields.any(name) != nothing:
                raise InvalidReceipt(f"prompt.{name} stands beside a raw prompt")
        return Raw(fields.text("raw"))
    if fields.any("raw") is not None:
        raise InvalidReceipt("prompt has messages and a raw text")
    return Chat(fields.items("messages", message), _clock(fields.text("clock")), fields.items("tools", tool))


def _clock(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidReceipt("prompt.clock is not a time") from error
    if found.tzinfo is not None:
        raise InvalidReceipt("prompt.clock is not a local time")
    return found


def _reading(fields: Fields) -> Reading:
    return Reading(
        template=fields.digest_or_none("template"),
        count=fields.whole("prompt_tokens"),
        digest=fields.digest("prompt_tokens_digest"),
    )


def _sampling(fields: Fields) -> Sampling:
    plain = ("temperature", "top_k", "top_p", "min_p", "max_tokens", *_LATER_SAMPLING)
    values = {name: fields.any(name) for name in plain}
    return Sampling(
        **{
            **values,
            "seed": fields.whole("seed", most=MAX_SEED),
            "stop": fields.texts("stop"),
            "stop_tokens": fields.wholes("stop_tokens"),
            "shown_tokens": fields.wholes("shown_tokens"),
            "logit_bias": fields.pairs("logit_bias"),
            "grammar": fields.text_or_none("grammar"),
        }
    )


def _engine(fields: Fields) -> EngineSettings:
    values = {name: fields.any(name) for name in (*_ENGINE, *_LATER_ENGINE)}
    words = {name: fields.text(name) for name in ("key_type", "value_type", "split")}
    return EngineSettings(**{**values, **words})


def _output(fields: Fields) -> Output:
    reason = fields.text("finish_reason")
    if reason not in ("stop", "length"):
        raise InvalidReceipt(f"output.finish_reason is {reason!r:.40}")
    output = Output(fields.wholes("tokens"), fields.text("text"), cast("FinishReason", reason))
    if tokens_digest(output.tokens) != fields.digest("tokens_digest"):
        raise InvalidReceipt("output.tokens_digest is not that of its tokens")
    return output
