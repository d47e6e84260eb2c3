"""What the gate says of a file."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum

CHECKER = 1  # goes up when the gate becomes stricter or milder: older verdicts are then no longer asked


class TemplateState(StrEnum):
    """Whether the chat templates of a file were looked at."""

    NONE = "none"
    LINTED = "linted"
    NOT_LINTED = "not linted"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a file does not pass: `code` names the kind of fault, `detail` says where and what."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate found in a file's bytes. `checker` is the version of the gate that said so."""

    problems: tuple[Problem, ...]
    template: TemplateState = TemplateState.NONE
    checker: int = CHECKER

    @property
    def safe(self) -> bool:
        """Whether nothing was found."""
        return not self.problems

    @property
    def complete(self) -> bool:
        """Whether everything was looked at; it was not when there was nothing to lint templates with."""
        return self.template is not TemplateState.NOT_LINTED

    def encode(self) -> str:
        """The verdict as JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def decode(cls, text: str) -> "Verdict":
        """The verdict in JSON; raises ValueError, KeyError or TypeError for anything else."""
        found = json.loads(text)
        problems = tuple(Problem(str(one["code"]), str(one["detail"])) for one in found["problems"])
        return cls(problems, TemplateState(found["template"]), int(found["checker"]))
