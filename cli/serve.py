"""`llstore serve`."""

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from ..runner.placement.wanted import NOTHING, Wanted
from ..runner.weights import refuse_unrunnable, weights_of
from ..store import GetResult, Name, Ref, Store, StoreError, parse_ref
from . import settings
from .engine_options import engine_flags
from .failure import FAILED
from .key import FILE as KEYS
from .options import JsonOption, OfflineOption, QuietOption, StoreOption
from .output import opened, print_json, progress

if TYPE_CHECKING:
    import socket

    from ..runner.observe.log import Form
    from ..runner.observe.snapshot import Snapshot
    from ..runner.serve.keys import Keys
    from ..runner.serve.model import Identity, ServedModel
    from ..runner.serve.rules import Rules

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_HOST_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?|[0-9a-f]*:[0-9a-f:]*:[0-9a-f:.]*")  # or an address


@engine_flags()
def serve(
    refs: Annotated[list[str], typer.Argument(metavar="REF", help="Digest, prefix, org/name[:tag] or name@sha256:…")],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    engine: Wanted = NOTHING,
    queue: Annotated[int | None, typer.Option(min=0, help="Answers that may wait for a slot [256].")] = None,
    drain: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="For answers to be finished at the end [30].")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Another name that this server has; may be repeated.")
    ] = None,
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="Listen beyond this machine though everybody may ask.")
    ] = False,
    log_format: Annotated[str | None, typer.Option(metavar="json|text", help="Of the log on stderr.")] = None,
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="Write what is asked into the log.")] = False,
    unchecked: Annotated[bool, typer.Option("--unchecked", help="Load it even if llstore check refuses it.")] = False,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Serve a model to many, over the OpenAI HTTP interface."""
    if len(refs) > 1:
        raise typer.BadParameter("one model is served at a time")
    if log_format not in (None, "json", "text"):
        raise typer.BadParameter(f"--log-format is {log_format!r}; it is json or text")
    flags = _Flags(queue, drain, tuple(allow_host or ()), log_prompts)
    way = _Way(host, port, engine, flags, without_keys, log_format, unchecked, store, json, offline, quiet)
    _serve(parse_ref(refs[0]), way)


@dataclass(frozen=True, slots=True)
class _Flags:
    """What may also stand in the settings file, which is read again at SIGHUP; flags rule."""

    queue: int | None
    drain: float | None
    hosts: tuple[str, ...]
    log_prompts: bool

    def rules(self) -> "Rules":
        from ..runner.serve.rules import Rules

        table, usual = settings.serve_table(), Rules()
        return Rules(
            queue=int(table.get("queue", usual.queue) if self.queue is None else self.queue),
            connections=int(table.get("connections", usual.connections)),
            body=table.get("max_body", usual.body),
            head=table.get("max_head", usual.head),
            head_seconds=table.get("head_seconds", usual.head_seconds),
            body_seconds=table.get("body_seconds", usual.body_seconds),
            stall_seconds=table.get("stall_seconds", usual.stall_seconds),
            idle_seconds=table.get("idle_seconds", usual.idle_seconds),
            drain=table.get("drain", usual.drain) if self.drain is None else self.drain,
            hosts=frozenset(map(_host_name, (*self.hosts, *table.get("hosts", ())))),
            log_prompts=self.log_prompts or table.get("log_prompts", False),
        )

    def reread(self) -> "Rules":
        """The rules by the file as it is now; raises StoreError where that cannot be used."""
        try:
            return self.rules()
        except settings.InvalidSettings as error:
            raise StoreError(str(error), hint=error.hint) from error


def _host_name(told: str) -> str:
    name = told.lower()
    if name != "*" and not _HOST_NAME.fullmatch(name):
        raise settings.InvalidSettings(
            f"{told!r} is not a host's name: write models.example, without scheme, port and path"
        )
    return name


@dataclass(frozen=True, slots=True)
class _Way:
    """The flags beside the model."""

    host: str
    port: int
    engine: Wanted
    flags: _Flags
    without_keys: bool
    log_format: str | None
    unchecked: bool
    store: str | None
    json: bool
    offline: bool
    quiet: bool


def _serve(wanted: Ref, way: _Way) -> None:
    # What is not installed, not allowed or taken shows before a model is fetched in vain.
    from ..runner.http.hosting import Plan
    from ..runner.http.hosting import serve as run
    from ..runner.http.server import listen
    from ..runner.observe import events
    from ..runner.observe.log import EventLog
    from ..runner.serve.keys import Keys

    way.flags.rules()
    with ExitStack() as held:
        log = held.enter_context(EventLog(sys.stderr, _form(way.log_format)))
        keys = held.enter_context(Keys(settings.data_folder() / KEYS, log))
        _refuse_strangers(way, keys)
        sockets = listen(way.host, way.port)
        held.callback(_close, sockets)
        found = held.enter_context(opened(way.store, offline=way.offline, quiet=way.quiet))
        model = held.enter_context(_served(found, wanted, way))

        def ready() -> None:
            urls = [_url(one) for one in sockets]
            log.write(events.Serving(url=" ".join(urls), models=(str(model.digest),)))
            if way.json:
                print_json({"url": urls[0], "models": [str(model.digest)]})
                sys.stdout.flush()

        _take_all_descriptors()
        whole = run(Plan([model], sockets, keys, log, way.flags.reread, lambda: _storage(found), ready))
    if not whole:
        raise typer.Exit(FAILED)


def _form(told: str | None) -> "Form":
    if told == "text" or (told is None and sys.stderr.isatty()):
        return "text"
    return "json"


def _refuse_strangers(way: _Way, keys: "Keys") -> None:
    if way.host in LOOPBACK or not keys.ring.empty or way.without_keys:
        return
    raise typer.BadParameter(
        f"--host {way.host} lets other machines ask, and no key was made: llstore key create NAME makes one, "
        "--without-keys lets everybody ask"
    )


@contextmanager
def _served(store: Store, wanted: Ref, way: _Way) -> Iterator["ServedModel"]:
    from ..runner.engine.limits import Limits
    from ..runner.engine.restarts import Keeping
    from ..runner.serve.model import ServedModel
    from .loading import leased
    from .placing import placed, remark_tuned

    with progress(quiet=way.quiet) as shown:
        result = store.get(wanted, shown, accept=refuse_unrunnable)
    with leased(store, result, unchecked=way.unchecked) as files:
        placement = placed(store, result.manifest, way.engine, quiet=way.quiet)
        remark_tuned(placement, quiet=way.quiet)
        # The server itself bounds who waits, and its bound may change.
        limits, keeping = Limits(queue=1 << 20), Keeping(cores=settings.cores_folder())
        with ServedModel(files, placement, _identity(store, result, wanted), limits=limits, keeping=keeping) as model:
            yield model


def _identity(store: Store, result: GetResult, wanted: Ref) -> "Identity":
    from ..runner.serve.model import Identity

    known = store.catalog.model(result.manifest.model)
    names = [Name.parse(name) for name in known.names] if known else []
    if isinstance(wanted, Name):
        # What it was asked for by comes first: it is what answers call it.
        names = [wanted, *(name for name in names if name != wanted)]
    files = tuple(file.entry for file in weights_of(result.files))
    return Identity(result.manifest, files, tuple(names))


def _storage(store: Store) -> "Snapshot":
    from ..runner.observe.snapshot import CacheSnapshot, Snapshot

    usage = store.cache.usage()
    return Snapshot(cache=CacheSnapshot(store.cache.counters(), usage.used, usage.budget), store=store.traffic)


def _url(one: "socket.socket") -> str:
    host, port = one.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _close(sockets: list["socket.socket"]) -> None:
    for one in sockets:
        one.close()


def _take_all_descriptors() -> None:
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
