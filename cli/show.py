"""`llstore show`."""

from contextlib import suppress
from typing import Annotated

import typer

from ..runner.placement.table import contexts
from ..runner.placement.wanted import Wanted
from ..runner.weights import refuse_unrunnable
from ..store import Model, Store, StoreError, parse_ref
from ..store.curate import SOURCE
from ..store.gguf import Array, GgufHeader
from ..store.headers import headers
from ..store.memory_need import ContextShape, MemoryNeed
from ..store.sizes import human_size
from .engine_options import CtxOption, KvTypeOption, ParallelOption
from .fit import show_fit
from .list_ import document
from .options import JsonOption, OfflineOption, QuietOption, RefArgument, StoreOption
from .output import human_count, opened, print_json, print_table, printable

_LONGEST = 72  # characters of a value on a line


def show(
    ref: RefArgument,
    header: Annotated[bool, typer.Option("--header", help="Also every key of the GGUF header.")] = False,
    tensors: Annotated[bool, typer.Option("--tensors", help="Also the table of tensors.")] = False,
    template: Annotated[bool, typer.Option("--template", help="Only the chat template, as it is.")] = False,
    fit: Annotated[bool, typer.Option("--fit", help="Only what fits where in this machine's memory now.")] = False,
    ctx: CtxOption = None,
    parallel: ParallelOption = None,
    kv_type: KvTypeOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what is known of a model, and the memory it needs. Of one that is not here, its first block is fetched."""
    wanted = parse_ref(ref)
    if not fit and (ctx, parallel, kv_type) != (None, None, None):
        raise typer.BadParameter("--ctx, --parallel and --kv-type say what is to --fit")
    with opened(store, offline=offline, quiet=quiet) as found:
        model = found.model(wanted)
        if fit:
            refuse_unrunnable(model.manifest)
            show_fit(_headers(found, model, needed=True), Wanted(ctx, parallel, kv_type), json=json)
            return
        asked = header or tensors or template
        read = _headers(found, model, needed=asked)
        if json:
            print_json(_document(model, found, read, header=header, tensors=tensors))
            return
        if template:
            print(read[0].template or "" if read else "")
            return
        for label, value in _lines(model, found) + _memory_lines(model, read):
            print(f"{label + ':':17} {printable(value)}")
    if header:
        _print_header(read)
    if tensors:
        rows = [
            (tensor.name, "x".join(map(str, tensor.shape)), tensor.type, human_size(tensor.size))
            for one in read
            for tensor in one.tensors
        ]
        print_table([("TENSOR", "SHAPE", "TYPE", "SIZE"), *rows])


def _headers(store: Store, model: Model, *, needed: bool) -> list[GgufHeader]:
    if needed:
        return headers(store, model.manifest)
    # What the manifest tells stands without it.
    with suppress(StoreError):
        return headers(store, model.manifest)
    return []


def _lines(model: Model, store: Store) -> list[tuple[str, str]]:
    manifest, facts = model.manifest, model.manifest.facts
    notes = {key: value for key, value in model.annotations.items() if key != SOURCE}
    lines = [
        ("digest", str(model.digest)),
        ("names", " ".join(model.names) or "-"),
        ("labels", " ".join(f"{key}={value}" for key, value in model.labels.items()) or "-"),
        ("source", model.annotations.get(SOURCE, "-")),
        *((f"note {key}", value) for key, value in notes.items()),
        ("size", f"{manifest.size} bytes ({human_size(manifest.size)})"),
        ("architecture", facts.architecture or "-"),
        ("parameters", f"{facts.parameters} ({human_count(facts.parameters)})" if facts.parameters else "-"),
        ("quantization", facts.quantization or "-"),
        ("context length", str(facts.context_length or "-")),
        ("embedding length", str(facts.embedding_length or "-")),
        ("tokenizer", facts.tokenizer or "-"),
        ("license", facts.license or "-"),
        ("base model", facts.base_model or "-"),
        ("chat template", str(facts.template or "-")),
        ("cached", "yes" if store.is_cached(manifest) else "no"),
        ("manifest", str(manifest.digest)),
    ]
    return lines + [("file", f"{file.role} {file.digest} {file.size} bytes") for file in manifest.files]


def _memory(model: Model, read: list[GgufHeader]) -> dict[int, int]:
    """Bytes of memory by tokens of context."""
    longest = model.manifest.facts.context_length
    if not read or not longest:
        return {}
    need = MemoryNeed.of(read)
    return {context: need.total(ContextShape(context)) for context in contexts(longest)}


def _memory_lines(model: Model, read: list[GgufHeader]) -> list[tuple[str, str]]:
    return [("memory", f"{human_size(size)} at context {context}") for context, size in _memory(model, read).items()]


def _document(model: Model, store: Store, read: list[GgufHeader], *, header: bool, tensors: bool) -> dict[str, object]:
    found = {
        **document(model, store),
        "annotations": model.annotations,
        "manifest": model.manifest.document(),
        "template": read[0].template if read else None,
        "memory": {str(context): size for context, size in _memory(model, read).items()},
    }
    if header:
        found["header"] = {key: _plain(value) for key, value in _keys(read).items()}
    if tensors:
        found["tensors"] = [
            {"name": tensor.name, "shape": list(tensor.shape), "type": tensor.type, "size": tensor.size}
            for one in read
            for tensor in one.tensors
        ]
    return found


def _keys(read: list[GgufHeader]) -> dict[str, object]:
    return {**read[0].metadata, **read[0].arrays} if read else {}


def _print_header(read: list[GgufHeader]) -> None:
    for key, value in sorted(_keys(read).items()):
        text = f"{value.length} values ({value.digest.short})" if isinstance(value, Array) else str(value)
        print(printable(f"{key} = {text if len(text) <= _LONGEST else text[:_LONGEST] + '…'}"))


def _plain(value: object) -> object:
    return {"length": value.length, "digest": str(value.digest)} if isinstance(value, Array) else value
