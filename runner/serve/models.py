"""The models that a server has."""

from collections.abc import Sequence
from difflib import get_close_matches

from ..errors import ModelNotServed, RunnerError
from .model import ServedModel


class Models:
    """Finds a model by what a caller calls it."""

    def __init__(self, served: Sequence[ServedModel]) -> None:
        self.served = tuple(served)

    def find(self, text: str | None, allowed: Sequence[str] = ()) -> ServedModel:
        """The model that `text` is a ref of; without one, the only one there is.

        `allowed` are the refs that a caller may use; none means all. Raises ModelNotServed, also for one that is not
        allowed: who may not use it need not know that it is here.
        """
        here = [model for model in self.served if _is_allowed(model, allowed)]
        if text is None and len(here) == 1:
            return here[0]
        for model in here:
            if text is not None and model.identity.answers_to(text):
                return model
        raise ModelNotServed(text, _near(text, here))

    @property
    def failure(self) -> RunnerError | None:
        """Why an engine was given up; None while all are kept running."""
        return next((model.engine.failure for model in self.served if model.engine.failure), None)

    @property
    def ready(self) -> bool:
        """Whether all of them are loaded and have answered a first prompt."""
        return all(model.warm for model in self.served)

    def allowed(self, allowed: Sequence[str]) -> tuple[ServedModel, ...]:
        """Those that a caller may use."""
        return tuple(model for model in self.served if _is_allowed(model, allowed))


def _is_allowed(model: ServedModel, allowed: Sequence[str]) -> bool:
    return not allowed or any(model.identity.answers_to(ref) for ref in allowed)


def _near(text: str | None, here: Sequence[ServedModel]) -> tuple[str, ...]:
    called = [str(name) for model in here for name in (*model.identity.names, model.digest)]
    # A name of a megabyte is compared by its beginning.
    near = get_close_matches(text[:200], called, n=3, cutoff=0.5) if text else []
    return tuple(near or [model.identity.label for model in here[:3]])
