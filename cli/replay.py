"""`llstore replay`."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .failure import FAILED
from .options import JsonOption, OfflineOption, QuietOption, StoreOption
from .output import opened, print_json, progress, remark

if TYPE_CHECKING:
    from ..runner.receipts.receipt import Receipt
    from ..runner.receipts.replay import Difference, Replay, TokenText
    from ..store import Manifest, Store


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `llstore run --receipt FILE` wrote.")],
    unchecked: Annotated[bool, typer.Option("--unchecked", help="Load it even if llstore check refuses it.")] = False,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run a receipt's prompt again: the same answer (exit code 0), or where it differs (1)."""
    from ..runner.kernels.kernels import switched_off
    from ..runner.llama.build import build
    from ..runner.llama.model import Loading
    from ..runner.receipts import replay as runner
    from ..runner.receipts.build_facts import BuildFacts, changes
    from ..runner.receipts.file import read
    from ..runner.weights import refuse_unrunnable, weights_of
    from .loading import loaded

    receipt = read(file)
    with opened(store, offline=offline, quiet=quiet) as found:
        with progress(quiet=quiet or json) as shown:
            result = found.get(receipt.model.digest, shown, accept=refuse_unrunnable)
        files = weights_of(result.files)
        runner.refuse_other_files(receipt, [entry.entry for entry in files])
        off = _switched_off(found, result.manifest, receipt, quiet=quiet)
        engine = switched_off(receipt.engine, off)
        receipt = replace(receipt, engine=engine)
        loading = Loading(gpu_layers=engine.gpu_layers, split=engine.split, repack=engine.repack)
        with loaded(found, result, loading, unchecked=unchecked) as model:
            again = runner.replay(receipt, model)
            difference = runner.difference(again, model)
    changed = changes(receipt.build, BuildFacts.of(build(), off))
    if json:
        print_json({**_document(again, difference), "build_changes": list(changed)})
    else:
        print("\n".join(_lines(again, difference)))
    if not again.same:
        if changed:
            remark(f"not the build that was recorded: {', '.join(changed)}", quiet=quiet)
        raise typer.Exit(FAILED)


def _switched_off(store: "Store", manifest: "Manifest", receipt: "Receipt", *, quiet: bool) -> frozenset[str]:
    from ..runner.placement.facts import ModelFacts
    from ..store.headers import headers
    from .placing import kernel_check

    types = ModelFacts.of(headers(store, manifest)).types
    return kernel_check(quiet=quiet).switched_off(types, receipt.engine)


def _lines(again: "Replay", difference: "Difference | None") -> list[str]:
    if again.same:
        return [f"same: {len(again.output.tokens)} tokens"]
    then, now = again.receipt.output, again.output
    lines = []
    if "template" in again.differs:
        lines.append(f"different template: recorded {again.receipt.reading.template}, now {again.reading.template}")
    if "prompt" in again.differs:
        count = again.receipt.reading.count
        lines.append(f"different prompt: recorded {count} tokens, now {_other(count, again.reading.count)}")
    if difference:
        place = f"different at token {difference.position}"
        lines.append(f"{place}: recorded {_shown(difference.recorded)}, now {_shown(difference.now)}")
    elif "text" in again.differs:
        lines.append(f"different text of the same tokens: recorded {then.text!r:.200}, now {now.text!r:.200}")
    if "finish_reason" in again.differs:
        lines.append(f"different end: recorded {then.finish_reason}, now {now.finish_reason}")
    return lines


def _other(then: int, now: int) -> str:
    return f"{now}" if then != now else f"{now} others"


def _shown(token: "TokenText | None") -> str:
    if token is None:
        return "the end"
    return f"{token.token} {'that the model lacks' if token.text is None else repr(token.text)}"


def _document(again: "Replay", difference: "Difference | None") -> dict[str, object]:
    return {
        "same": again.same,
        "digest": str(again.receipt.model.digest),
        "recorded_tokens": len(again.receipt.output.tokens),
        "tokens": len(again.output.tokens),
        "differs": list(again.differs),
        "first_difference": asdict(difference) if difference else None,
    }
