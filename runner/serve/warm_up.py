"""The first prompt of a model that is served: nobody's, and read before the server says that it is ready."""

import asyncio
import secrets
from functools import partial

from ..engine.request import Request, Update
from ..errors import EngineCrashed, RunnerError
from ..sampling import Sampling
from .model import ServedModel
from .post import Post

PROMPT = 80  # tokens: a batch of many, which other kernels compute than a row
_SAMPLING = Sampling(temperature=0.0, max_tokens=2, ignore_eos=True)


async def warm_up(model: ServedModel, post: Post) -> None:
    """Has a model read a prompt and make two tokens. Nothing of it is counted, or kept for other prompts.

    Raises LoadFailed, EngineCrashed for an engine that cannot do it, or what else the engine fails with.
    """
    over: asyncio.Future[Update | RunnerError] = asyncio.get_running_loop().create_future()

    def take(item: Update | RunnerError) -> None:
        if not over.done() and (isinstance(item, RunnerError) or item.end):
            over.set_result(item)

    receive = partial(post.put, take)
    id = model.engine.submit(_request(model), receive, fail=receive)
    try:
        last = await over
    finally:
        model.engine.cancel(id)
    if isinstance(last, RunnerError):
        raise last
    if last.end and last.end.reason not in ("stop", "length"):
        raise _unable(model, last.end.error or last.end.reason)
    model.warm = True


def _request(model: ServedModel) -> Request:
    count, size = min(PROMPT, model.context - 1), model.vocabulary.vocabulary_size
    # Which tokens they are costs nothing; a domain of its own shares no prefix with anybody.
    tokens = tuple(1 + number * 7 % (size - 1) for number in range(count))
    return Request(tokens, _SAMPLING, domain=secrets.token_hex(8), kept=False)


def _unable(model: ServedModel, why: str) -> EngineCrashed:
    crashes = model.engine.crashes
    advice = crashes[-1].advice() if crashes else ""
    return EngineCrashed(f"{model.identity.label} cannot answer a first prompt: {why}", hint=advice)
