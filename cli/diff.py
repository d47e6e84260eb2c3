"""`llstore diff`."""

from dataclasses import asdict
from difflib import unified_diff
from typing import Annotated

import typer

from ..store import Model, Store, parse_ref
from ..store.compare import Described, Difference, TensorFacts, Value, describe, difference
from ..store.gguf import Array
from ..store.headers import headers, local_paths
from ..store.progress import Progress
from .options import JsonOption, OfflineOption, QuietOption, StoreOption
from .output import opened, print_json, printable, progress, remark

_LONGEST = 60  # characters of a value on a line
DIFFERENT = 1


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A model: digest, prefix or name.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    fetch: Annotated[bool, typer.Option("--fetch", help="Bring both here, so that their weights can be told.")] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 1 when they differ.")] = False,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what tells two models apart: keys, template, tokenizer, tensors by type and by hash."""
    refs = parse_ref(a), parse_ref(b)
    with opened(store, offline=offline, quiet=quiet) as found, progress(quiet=quiet or json) as shown:
        models = [found.model(ref) for ref in refs]
        if fetch:
            for ref in refs:
                found.get(ref, shown)
        described = [_described(found, model, shown) for model in models]
        here = [local_paths(found, model.manifest) is not None for model in models]
    differing = difference(*described)
    if json:
        print_json({"a": str(models[0].digest), "b": str(models[1].digest), **_document(differing)})
    else:
        _print(differing)
        for model, is_here in zip(models, here, strict=True):
            if differing.weights is None and not is_here:
                remark(
                    f"{model.digest.short} is not on this machine: --fetch brings it, to compare weights", quiet=quiet
                )
    if exit_code and not differing.none:
        raise typer.Exit(DIFFERENT)


def _described(store: Store, model: Model, shown: Progress) -> Described:
    return describe(headers(store, model.manifest), local_paths(store, model.manifest), progress=shown)


def _print(found: Difference) -> None:
    print(found.summary)
    for title, keys in (("key", found.keys), ("tokenizer", found.tokenizer)):
        for key, (before, after) in keys.items():
            print(printable(f"{title:10}{key}: {_value(before)} -> {_value(after)}"))
    for name, (first, second) in found.tensors.items():
        print(printable(f"{'tensor':10}{name}: {_tensor(first)} -> {_tensor(second)}"))
    if found.template:
        before_lines, after_lines = ((text or "").splitlines() for text in found.template)
        for line in unified_diff(before_lines, after_lines, "template of A", "template of B", lineterm=""):
            print(printable(line))


def _document(found: Difference) -> dict[str, object]:
    return {
        "summary": found.summary,
        "same": found.none,
        "same_weights": found.weights,
        "keys": {key: [_plain(value) for value in pair] for key, pair in found.keys.items()},
        "tokenizer": {key: [_plain(value) for value in pair] for key, pair in found.tokenizer.items()},
        "template": list(found.template) if found.template else None,
        "tensors": {key: [asdict(facts) if facts else None for facts in pair] for key, pair in found.tensors.items()},
    }


def _plain(value: Value | None) -> object:
    return {"length": value.length, "digest": str(value.digest)} if isinstance(value, Array) else value


def _value(value: Value | None) -> str:
    if value is None:
        return "absent"
    if isinstance(value, Array):
        return f"{value.length} values ({value.digest.short})"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"


def _tensor(facts: TensorFacts | None) -> str:
    if facts is None:
        return "absent"
    digest = f" {facts.digest[:12]}" if facts.digest else ""
    return f"{'x'.join(map(str, facts.shape))} {facts.type}{digest}"
