"""What a caller asks for, as plain data."""

from dataclasses import dataclass

from ..sampling import Sampling
from ..tenants.tenant import Tenant
from .model import ServedModel


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a tenant, by one of its keys; without keys, everybody is one tenant. `request` names the request."""

    tenant: Tenant
    key: str | None = None
    request: str = ""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Tokens to be continued once, and how."""

    tokens: tuple[int, ...]
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class Call:
    """Prompts that are answered side by side; several answers to one prompt are several of them.

    A `fresh` one reads its prompts anew, and leaves nothing of them for others to reuse. `asked_tokens` is the limit
    that the caller named for an answer.
    """

    model: ServedModel
    caller: Caller
    prompts: tuple[Prompt, ...]
    fresh: bool = False
    asked_tokens: int | None = None

    @property
    def read(self) -> int:
        """How many prompt tokens it has; answers to one prompt share them."""
        return sum(map(len, {prompt.tokens for prompt in self.prompts}))

    @property
    def most(self) -> int:
        """How many tokens it may take, read and made."""
        room = self.model.context
        made = (min(prompt.sampling.max_tokens, room - len(prompt.tokens)) for prompt in self.prompts)
        return self.read + sum(made)
