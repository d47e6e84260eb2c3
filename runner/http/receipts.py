"""Receipts of answers that were served (docs/receipts.md)."""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from ..chat.ask import Ask
from ..generate import Generation
from ..receipts.build_facts import BuildFacts
from ..receipts.receipt import Receipt, UsedModel
from ..serve.call import Call
from .answering import Collected

if TYPE_CHECKING:
    from ..llama.build import Build


@dataclass(frozen=True, slots=True)
class Receipts:
    """Writes the receipt of a call's only answer."""

    ask: Ask

    def document(self, call: Call, answer: Collected) -> dict[str, Any]:
        """What produced it, as plain data."""
        (prompt,) = call.prompts
        model = call.model
        made = Generation(
            text=answer.text,
            prompt=prompt.tokens,
            tokens=tuple(answer.tokens),
            finish_reason="stop" if answer.end and answer.end.reason == "stop" else "length",
            load_seconds=0.0,
            first_token_seconds=0.0,
            tokens_per_second=0.0,
            sampling=prompt.sampling,
            engine=model.settings,
        )
        used = UsedModel.of(model.identity.manifest, model.identity.files)
        facts = BuildFacts.of(_build(), model.switched_off)
        return Receipt.of(used, self.ask, model=model.vocabulary, made=made, build=facts).document()


@cache
def _build() -> "Build":
    from ..llama.build import build

    return build()
