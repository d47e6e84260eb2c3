"""Looks at a whole file: its header, and what llama.cpp makes of it.

Time and memory have bounds: a second and 64 MiB, whatever the file holds. Weights are not read; no value of theirs
can lead a parser astray.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from ..disk import disk_errors
from ..errors import Unsafe
from ..gguf import GgufHeader, read_header
from .hyperparameters import hyperparameter_problems
from .keys import key_problems
from .tensors import tensor_problems
from .verdict import Problem, TemplateState, Verdict
from .vocabulary import vocabulary_problems

Lint = Callable[[str], Sequence[str]]
"""Says what is wrong with the source of a chat template."""

MAX_PROBLEMS = 50
_TEMPLATE = "tokenizer.chat_template"


def check_file(path: Path, lint: Lint | None = None) -> Verdict:
    """The verdict on the file at `path`; raises DiskError when it cannot be read."""
    with disk_errors(path), path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        return check(file, size, lint=lint)


def check(file: BinaryIO, size: int, *, lint: Lint | None = None) -> Verdict:
    """The verdict on a file that stands at its start; no file is so bad that it raises anything of its own.

    Without `lint` chat templates are not looked at, and the verdict on a file that has some is not complete.
    """
    try:
        header = read_header(file, size)
    except Unsafe as error:
        return Verdict((Problem(error.code, str(error)),))
    templates = _templates(header)
    found = chain(
        key_problems(header),
        tensor_problems(header),
        hyperparameter_problems(header, file),
        vocabulary_problems(header, file),
        (problem for source in templates for problem in _linted(source, lint)),
    )
    state = TemplateState.NOT_LINTED if lint is None else TemplateState.LINTED
    return Verdict(tuple(_first(found)), state if templates else TemplateState.NONE)


def _first(found: Iterator[Problem]) -> Iterator[Problem]:
    try:
        yield from islice(found, MAX_PROBLEMS)
        if next(found, None):
            yield Problem("more", f"there are more than {MAX_PROBLEMS} problems")
    except Unsafe as error:
        yield Problem(error.code, str(error))


def _templates(header: GgufHeader) -> list[str]:
    keys = (key for key in header.metadata if key == _TEMPLATE or key.startswith(_TEMPLATE + "."))
    return [source for source in map(header.text, keys) if source is not None]


def _linted(source: str, lint: Lint | None) -> Iterator[Problem]:
    for line in lint(source) if lint else ():
        yield Problem("template", line)
