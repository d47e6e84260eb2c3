"""The application: routes, and around them what every request passes through."""

from collections.abc import Callable
from importlib.metadata import version

from fastapi import Depends

from ..tenants.keyring import Keyring
from .asgi import App, Scope
from .body import Bodies, json_only
from .desk import Desk
from .documents import Api
from .envelope import Envelope, Exchange
from .guard import Guard
from .refusals import add_refusals
from .routes import chat, completions, health, models, responses, tokens

ROUTES = (chat, completions, responses, models, tokens, health)


def application(
    desk: Desk,
    *,
    keys: Callable[[], Keyring],
    done: Callable[[Exchange, Scope], None],
) -> App:
    """The ASGI application. `keys` gives those of the moment, `done` is told of each request when it is over."""
    live = desk.service.live
    # A path with a slash too many is no route: to send its clients elsewhere, the Host of a request would be trusted.
    api = Api(title="llstore", version=version("llstore"), docs_url=None, redoc_url=None, redirect_slashes=False)
    for route in ROUTES:
        api.include_router(route.router(desk), dependencies=[Depends(json_only)])
    add_refusals(api)
    return Envelope(Guard(Bodies(api, live), keys, live), done)
