"""A request of /v1/completions: https://platform.openai.com/docs/api-reference/completions/create."""

from typing import Annotated

from pydantic import Field

from ...sampling import MAX_COUNT
from .settings import FIRST_FAULT, Settings, Texts

Token = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Tokens = Annotated[list[Token], FIRST_FAULT]


class CompletionRequest(Settings):
    """Texts, or token ids, that the model continues as they stand."""

    prompt: str | Texts | Tokens | Annotated[list[Tokens], FIRST_FAULT] = Field(
        description="A text or its token ids; or a list of either, each of which gets answers."
    )
    logprobs: int | None = Field(
        default=None, ge=0, le=20, description="So many of the likeliest tokens at each place."
    )
    echo: bool | None = Field(default=None, description="Begin the answer with the prompt.")

    def prompts(self) -> list[str | list[int]]:
        """The prompts one by one."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if self.prompt and isinstance(self.prompt[0], int):
            return [self.prompt]
        return list(self.prompt)  # type: ignore[arg-type]
