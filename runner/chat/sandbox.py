"""Jinja's sandbox, with bounds on what a template can build. The only module that imports jinja2.

Jinja's own sandbox keeps a template from Python's internals. This one also keeps it from the machine's memory: each
value is small, the sum of all values built is bounded, and only filters whose cost is known are there.
"""

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache, wraps
from types import CodeType
from typing import Any, cast

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..errors import TemplateFailed
from .growth import MAX_VALUE, Budget, check_call, check_format, check_operator

# What chat templates use; each takes time and memory about linear in its arguments, or has a bound in growth.py.
FILTERS = [
    "abs",
    "batch",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "groupby",
    "indent",
    "int",
    "items",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "title",
    "trim",
    "unique",
    "upper",
]

# Methods that templates do without and that make much of little.
REFUSED = frozenset(["translate", "format_map", "encode", "decode", "to_bytes", "from_bytes"])

MAX_INDENT = 16


class BoundedCode(CodeGenerator):  # type: ignore[misc]
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


class Sandbox(ImmutableSandboxedEnvironment):  # type: ignore[misc]
    """An environment for one rendering; what it builds counts against one budget. `now` is what its clock shows."""

    filters: dict[str, Any]
    globals: dict[str, Any]
    code_generator_class = BoundedCode
    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self, now: datetime) -> None:
        # Not optimized: constants are folded at run time, where they are counted.
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, optimized=False, extensions=[loopcontrols, GenerationTag]
        )
        self._budget = Budget()
        self.filters = {name: self._bounded(name, self.filters[name]) for name in FILTERS}
        self.filters |= {"tojson": _tojson, "join": self._join}
        self.globals = {name: self.globals[name] for name in ("range", "dict", "namespace")}
        self.globals |= {"strftime_now": _clock(now), "raise_exception": _raise_exception}
        self.concat = self.joined

    def render(self, source: str, **values: Any) -> str:
        """What the template prints."""
        # Compiled code knows nothing of the environment that it was compiled in: it is given the one it runs in.
        template = self.template_class.from_code(self, _compiled(source), self.make_globals(None))
        return str(template.render(**values))

    def kept(self, value: Any) -> Any:
        """`value`, counted."""
        return self._budget.keep(value)

    def joined(self, parts: Iterable[Any], between: str = "") -> str:
        """The parts as one text."""
        texts = [str(self.kept(str(part))) for part in parts]
        if sum(map(len, texts)) + len(between) * len(texts) > MAX_VALUE:
            raise TemplateFailed(f"the chat template builds more than {MAX_VALUE} characters")
        return str(self.kept(between.join(texts)))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """`left operator right`, if the result has a bound."""
        check_operator(operator, left, right)
        return self.kept(super().call_binop(context, operator, left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """A call in the template, if the result has a bound; the names keep clear of the template's keywords."""
        owner = getattr(__obj, "__self__", None)
        check_call(getattr(__obj, "__name__", ""), owner, [*args, *kwargs.values()])
        return __self.kept(super().call(__context, __obj, *args, **kwargs))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether the template may read it."""
        return attr not in REFUSED and bool(super().is_safe_attribute(obj, attr, value))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`str.format` in Jinja's sandbox, if the result has a bound."""
        function = super().wrap_str_format(value)
        if function is None or value.__name__ in REFUSED:
            return None

        def bounded(*args: Any, **kwargs: Any) -> str:
            check_format(value.__self__, [*args, *kwargs.values()])
            return str(function(*args, **kwargs))

        return bounded

    def _bounded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        # wraps copies the attribute by which Jinja knows that a filter wants the environment or context first.
        @wraps(function)
        def bounded(*args: Any, **kwargs: Any) -> Any:
            subject, *rest = args[1:] if hasattr(function, "jinja_pass_arg") else args
            check_call(name, subject, [*rest, *kwargs.values()])
            return self.kept(function(*args, **kwargs))

        return bounded

    def _join(self, value: Iterable[Any], d: str = "", attribute: str | None = None) -> str:
        parts = value if attribute is None else (self.getattr(part, attribute) for part in value)
        return self.joined(parts, str(d))


class GenerationTag(Extension):  # type: ignore[misc]
    """`{% generation %}` marks what to train on; it means nothing here."""

    tags = frozenset(["generation"])

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The statements inside."""
        parser.stream.skip(1)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


@lru_cache(maxsize=16)
def _compiled(source: str) -> CodeType:
    """A template's code: to make it takes ten times as long as to run it."""
    code = Sandbox(datetime.min).compile(source)
    return cast(CodeType, code)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **style: Any) -> str:
    """JSON as transformers writes it; Jinja's own filter escapes it for HTML."""
    if isinstance(indent, int) and indent > MAX_INDENT:
        raise TemplateFailed(f"the chat template indents JSON by {indent}")
    parts: list[str] = []
    size = 0
    for part in json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, **style).iterencode(value):
        size += len(part)
        if size > MAX_VALUE:
            raise TemplateFailed(f"the chat template builds more than {MAX_VALUE} characters")
        parts.append(part)
    return "".join(parts)


def _clock(now: datetime) -> Callable[[str], str]:
    # A function, not the method of `now`: a template must not reach the object behind it.
    def strftime_now(form: str) -> str:
        return now.strftime(form)

    return strftime_now


def _raise_exception(message: str) -> None:
    raise TemplateFailed(f"the chat template refuses: {' '.join(str(message).split())}"[:300])
