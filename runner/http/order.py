"""What one request orders: answers of one model, made as it says, whole or streamed, with or without a receipt."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request as HttpRequest

from ..chat.ask import Ask
from ..sampling import Sampling, answers
from ..serve.call import Call, Caller
from ..serve.model import ServedModel
from .answering import Answering, Stream, Teller, Whole
from .desk import Desk, prompts_of, seeded
from .errors import ApiError, Problem
from .receipts import Receipts
from .shapes.settings import Settings
from .teller import Last, Who


@dataclass(frozen=True, slots=True)
class Order:
    """A request that the server is open for, and the model that it means."""

    desk: Desk
    settings: Settings
    caller: Caller
    model: ServedModel

    @classmethod
    def of(cls, desk: Desk, settings: Settings, request: HttpRequest) -> "Order":
        """Takes it. Raises Draining, QueueFull, ModelNotServed."""
        desk.note(request, settings)
        caller = desk.caller(request)
        desk.service.check_open(caller.tenant)
        return cls(desk, settings, caller, desk.model(request, settings.model))

    def call(self, tokens: Sequence[tuple[int, ...]], sampling: Sampling) -> Call:
        """The call that answers these prompts."""
        settings = self.settings
        samplings = answers(seeded(sampling) if settings.receipt else sampling, settings.answers)
        return Call(
            self.model,
            self.caller,
            prompts_of(tokens, samplings),
            fresh=settings.cache_prompt is False,
            asked_tokens=settings.asked_tokens,
        )

    def last(self, call: Call, ask: Ask | None) -> Last:
        """What is told in the end; `ask` is what was asked, None for tokens. Raises ApiError."""
        if not self.settings.receipt:
            return Last(call, self.settings.with_usage)
        if ask is None or len(call.prompts) > 1:
            raise ApiError(Problem(400, "a receipt is of one answer to one text", param="receipt"))
        return Last(call, self.settings.with_usage, Receipts(ask))

    def who(self, prefix: str) -> Who:
        """The head of the answer; its id begins with `prefix`."""
        return self.desk.who(prefix, self.model, self.settings.model)

    def answer(self, call: Call, teller: Teller) -> Answering:
        """Begins the call. Raises what Service.begin raises."""
        return (Stream if self.settings.stream else Whole)(self.desk.begin(call), teller)
