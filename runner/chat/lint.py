"""What is wrong with a chat template, found without running it: it is parsed in the sandbox's grammar.

A template that passes can still fail on some messages; one that does not could never be trusted to render.
"""

from collections.abc import Iterator
from datetime import datetime

from jinja2 import TemplateSyntaxError, nodes

from .sandbox import REFUSED, Sandbox
from .template import MAX_SOURCE, one_line

MAX_PROBLEMS = 20
MAX_DEPTH = 100  # of expressions and statements in each other; Python's own parser refuses more


def lint(source: str) -> list[str]:
    """One line for each thing that is wrong; none for a template that the sandbox takes."""
    if len(source) > MAX_SOURCE:
        return [f"the chat template has {len(source)} characters, more than {MAX_SOURCE}"]
    sandbox = Sandbox(datetime.now().astimezone())
    try:
        tree = sandbox.parse(source)
        found = list(dict.fromkeys(_objections(tree, sandbox)))[:MAX_PROBLEMS]
        if not found:
            sandbox.compile(tree, raw=True)
    except TemplateSyntaxError as error:
        return [f"the chat template is broken in line {error.lineno}: {one_line(error)}"]
    except Exception as error:  # Jinja's parser and compiler recurse, and trip over what is no program
        return [f"the chat template cannot be parsed: {one_line(error)}"]
    return found


def _objections(tree: nodes.Template, sandbox: Sandbox) -> Iterator[str]:
    """Found level by level: a recursive walk would be as deep as the template."""
    level: list[nodes.Node] = [tree]
    depth = 0
    while level:
        for node in level:
            for objection in _of_node(node, sandbox):
                yield f"line {getattr(node, 'lineno', 0)} of the chat template {objection}"
        level = [child for node in level for child in node.iter_child_nodes()]
        depth += 1
        if depth > MAX_DEPTH:
            yield f"the chat template is nested more than {MAX_DEPTH} deep"
            return


def _of_node(node: nodes.Node, sandbox: Sandbox) -> Iterator[str]:
    if isinstance(node, nodes.Filter):
        if node.name not in sandbox.filters:
            yield f"uses the filter {node.name!r:.50}, which the sandbox does not have"
        yield from map(_reaches, filter(_is_internal, _constants(node)))
    if isinstance(node, nodes.Test) and node.name not in sandbox.tests:
        yield f"uses the test {node.name!r:.50}, which the sandbox does not have"
    if isinstance(node, nodes.Getattr) and _is_internal(node.attr):
        yield _reaches(node.attr)
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and _is_internal(node.arg.value):
        yield _reaches(node.arg.value)
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr) and node.node.attr in REFUSED:
        yield f"calls {node.node.attr!r}, which the sandbox refuses"
    if isinstance(node, nodes.Include | nodes.Import | nodes.FromImport | nodes.Extends):
        yield "reads another template, and there is none"


def _constants(node: nodes.Filter) -> list[object]:
    values = [*node.args, *(pair.value for pair in node.kwargs)]
    return [value.value for value in values if isinstance(value, nodes.Const)]


def _is_internal(name: object) -> bool:
    return isinstance(name, str) and any(part.startswith("__") for part in name.split("."))


def _reaches(name: object) -> str:
    return f"reaches for {name!r:.50}, which is Python's own"
