"""Jinja's sandbox, with bounds on what a template can build. The only module that imports jinja2.

Jinja's own sandbox keeps a template from Python's internals. This one also keeps it from the machine's memory: each
value is small, the sum of all values built is bounded, and only filters whose cost is known are there.
"""

import json
import operator
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import wraps
from typing import Any

from jinja2 import Undefined, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import loopcontrols
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .errors import TemplateFailed
from .growth import MAX_VALUE, Budget, check_call, check_operator

# What chat templates use; each takes time and memory about linear in its arguments, or has a bound in growth.py.
FILTERS = """abs attr batch capitalize count d default dictsort e escape first float forceescape groupby indent int
items join last length list lower map max min reject rejectattr replace reverse round safe select selectattr slice
sort string title trim unique upper""".split()


class BoundedCode(CodeGenerator):
    """Sends what Jinja compiles to plain Python (`~` and literals) through the sandbox as well."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        """`a ~ b`"""
        self.write("environment.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        """`[a, b]`"""
        self._kept(super().visit_List, node, frame)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        """`(a, b)`, which is also the left side of `set a, b = …`."""
        if node.ctx == "load":
            self._kept(super().visit_Tuple, node, frame)
        else:
            super().visit_Tuple(node, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        """`{a: b}`"""
        self._kept(super().visit_Dict, node, frame)

    def _kept(self, visit: Callable[[Any, Frame], None], node: nodes.Node, frame: Frame) -> None:
        self.write("environment.kept(")
        visit(node, frame)
        self.write(")")


class Sandbox(ImmutableSandboxedEnvironment):
    """An environment for one rendering; what it builds counts against one budget."""

    code_generator_class = BoundedCode
    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self) -> None:
        # Not optimized: constants are folded at run time, where they are counted.
        super().__init__(trim_blocks=True, lstrip_blocks=True, optimized=False, extensions=[loopcontrols])
        self._budget = Budget()
        filters = {name: self._bounded(self.filters[name]) for name in FILTERS}
        self.filters = {**filters, "tojson": self._bounded(_tojson)}
        self.globals = {name: self.globals[name] for name in ("range", "dict", "namespace")}
        self.globals |= {"strftime_now": _strftime_now, "raise_exception": _raise_exception}
        self.concat = self.joined

    def render(self, source: str, **values: Any) -> str:
        """What the template prints."""
        return self.from_string(source).render(**values)

    def kept(self, value: Any) -> Any:
        """`value`, counted."""
        return self._budget.keep(value)

    def joined(self, parts: Iterable[Any]) -> str:
        """The parts as one text."""
        texts = [self.kept(str(part)) for part in parts]
        if sum(map(len, texts)) > MAX_VALUE:
            raise TemplateFailed(f"the chat template builds more than {MAX_VALUE} characters")
        return str(self.kept("".join(texts)))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """`left operator right`, if the result has a bound."""
        check_operator(operator, left, right)
        return self.kept(super().call_binop(context, operator, left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """A call in the template, if the result has a bound; the names keep clear of the template's keywords."""
        owner = getattr(__obj, "__self__", None)
        check_call(getattr(__obj, "__name__", ""), owner, (*args, *kwargs.values()))
        return __self.kept(super().call(__context, __obj, *args, **kwargs))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """`translate` can turn every character into a long text, and templates do without it."""
        return attr != "translate" and super().is_safe_attribute(obj, attr, value)

    def _bounded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        # wraps copies the attribute by which Jinja knows that a filter wants the environment or context first.
        @wraps(function)
        def bounded(*args: Any, **kwargs: Any) -> Any:
            takes_environment = hasattr(function, "jinja_pass_arg")
            subject, *rest = args[1:] if takes_environment else args
            check_call(function.__name__.removeprefix("do_").removeprefix("sync_do_"), subject, (*rest, *kwargs.values()))
            return self.kept(function(*args, **kwargs))

        return bounded
