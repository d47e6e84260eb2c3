"""`llstore check`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from ..runner.gate import linter, verdict
from ..store import GetResult, Ref, parse_ref
from ..store.errors import DiskError, FileNotThere, InvalidRef, Unsafe
from ..store.gate import TemplateState, Verdict, check_file
from .failure import UNSAFE
from .options import JsonOption, OfflineOption, QuietOption, StoreOption
from .output import opened, print_json, printable, progress, remark


def check(
    what: Annotated[str, typer.Argument(metavar="FILE|REF", help="A file on this machine, or a model in the store.")],
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check that a file is safe to load, before llama.cpp sees it; exit code 7 if it is not."""
    if os.path.lexists(what):
        path = Path(what)
        found = {path.name: _of_file(path)}
        document = {"file": str(path), **_document(*found.values())}
    else:
        with opened(store, offline=offline, quiet=quiet) as opened_store, progress(quiet=quiet or json) as shown:
            model = opened_store.get(_ref(what), shown)
            found = {
                str(file.entry.digest): verdict(file.path, file.entry.digest, opened_store.cache)
                for file in model.files
                if file.entry.role.is_gguf
            }
        document = _of_model(model, found)
    if json:
        print_json(document)
    else:
        _print(found, quiet=quiet)
    if not document["safe"]:
        raise typer.Exit(UNSAFE)


def _of_file(path: Path) -> Verdict:
    if path.is_dir():
        raise DiskError(f"{path} is a folder", hint="check one file")
    if path.exists() and not path.is_file():
        raise DiskError(f"{path} is not a regular file")
    return check_file(path, linter())


def _ref(what: str) -> Ref:
    try:
        return parse_ref(what)
    except InvalidRef as error:
        if os.sep in what or what.endswith(".gguf"):
            raise FileNotThere(f"no file {what}") from error
        raise


def _of_model(model: GetResult, found: dict[str, Verdict]) -> dict[str, object]:
    if not found:
        raise Unsafe(f"{model.manifest.model} holds no GGUF file to check")
    files = [
        {"role": file.entry.role.value, "digest": str(file.entry.digest), **_document(found[str(file.entry.digest)])}
        for file in model.files
        if file.entry.role.is_gguf
    ]
    problems = [problem for file in files for problem in file["problems"]]  # type: ignore[attr-defined]
    return {"digest": str(model.manifest.model), "safe": not problems, "problems": problems, "files": files}


def _document(found: Verdict) -> dict[str, object]:
    return {
        "safe": found.safe,
        "problems": [{"code": problem.code, "detail": problem.detail} for problem in found.problems],
        "template": found.template.value,
        "checker": found.checker,
    }


def _print(found: dict[str, Verdict], *, quiet: bool) -> None:
    for name, one in found.items():
        for problem in one.problems:
            print(printable(f"{name}: {problem.code}: {problem.detail}"))
        if one.template is TemplateState.NOT_LINTED:
            remark(f"{name}: the chat template was not looked at (pip install 'llstore[run]')", quiet=quiet)
        elif one.safe:
            remark(f"{name} is safe to load", quiet=quiet)
