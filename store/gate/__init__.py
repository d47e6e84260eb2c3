"""The gate: what a file must be before llama.cpp, or any other parser in C, may see it (docs/gate.md)."""

from .check import Lint, check, check_file
from .verdict import CHECKER, Problem, TemplateState, Verdict

__all__ = ["CHECKER", "Lint", "Problem", "TemplateState", "Verdict", "check", "check_file"]
