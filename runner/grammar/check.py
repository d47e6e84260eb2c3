"""Whether llama.cpp can read a grammar: some make it recurse, loop or take memory without end."""

from collections.abc import Iterator
from functools import lru_cache

from ..errors import InvalidSampling
from .rules import MAX_BYTES, Alternative, Rules, read

# In how many ways one rule may begin, each of which llama.cpp keeps; in how many steps it finds its first character.
MAX_WAYS = 10_000
MAX_STEPS = 2000


def check_grammar(text: str) -> None:
    """Raises InvalidSampling for what is no grammar in GBNF, or one that llama.cpp cannot follow, saying why."""
    if not isinstance(text, str) or not text.strip():
        raise InvalidSampling(f"grammar is {text!r:.100}; it must be a text in GBNF")
    size = len(text.encode(errors="replace"))
    if size > MAX_BYTES:
        raise InvalidSampling(f"the grammar has {size} bytes; {MAX_BYTES} are the most")
    if text.encode(errors="replace").decode() != text:
        raise InvalidSampling("the grammar is not UTF-8")
    _check(text)


@lru_cache(maxsize=64)
def _check(text: str) -> None:
    rules = read(text)
    plainly = {rule for rule in _all(rules) if any(not items for items in _alternatives(rules, rule))}
    _refuse_left_recursion(rules, plainly, also_plain=True)
    empty = _may_be_empty(rules, plainly)
    groups = _refuse_left_recursion(rules, empty, also_plain=False)
    _refuse_explosion(rules, empty, groups)


def _all(rules: Rules) -> range:
    return range(len(rules.names))


def _alternatives(rules: Rules, rule: int) -> list[Alternative]:
    return rules.alternatives[rule] or []


def _may_be_empty(rules: Rules, plainly: set[int]) -> set[int]:
    """The rules that may match nothing: those with an empty alternative, and one of such rules alone."""
    users: dict[int, list[tuple[int, int]]] = {}  # by a rule that is missing: the alternatives that wait for it
    missing: dict[tuple[int, int], int] = {}
    for rule in _all(rules):
        for number, items in enumerate(_alternatives(rules, rule)):
            needed = {item.rule for item in items}
            if None in needed:
                continue
            missing[rule, number] = len(needed)
            for one in needed:
                users.setdefault(one or 0, []).append((rule, number))
    found = set(plainly)
    todo = list(plainly)
    while todo:
        for rule, number in users.get(todo.pop(), ()):
            missing[rule, number] -= 1
            if not missing[rule, number] and rule not in found:
                found.add(rule)
                todo.append(rule)
    return found


def _beginnings(items: Alternative, empty: set[int]) -> Iterator[tuple[int, bool]]:
    """The rules that an alternative may begin with, and whether it ends with it as well."""
    for place, item in enumerate(items):
        if item.rule is None:
            return
        yield item.rule, place == len(items) - 1
        if item.rule not in empty:
            return


def _refuse_left_recursion(rules: Rules, empty: set[int], *, also_plain: bool) -> list[list[int]]:
    """The groups of rules that begin with each other, those that others begin with first.

    llama.cpp refuses any such circle that it sees, which are those through plainly empty rules; through others, it
    loops, unless nothing follows in the circle.
    """
    edges = [
        [edge for items in _alternatives(rules, rule) for edge in _beginnings(items, empty)] for rule in _all(rules)
    ]
    groups = _circles([[rule for rule, _ in found] for found in edges])
    group_of = {rule: number for number, group in enumerate(groups) for rule in group}
    for rule, found in enumerate(edges):
        for other, last in found:
            if group_of[other] == group_of[rule] and (also_plain or not last):
                raise InvalidSampling(f"the grammar's rule {rules.names[rule]!r:.100} begins with itself")
    return groups


def _circles(edges: list[list[int]]) -> list[list[int]]:
    """The strongly connected components, each after those that it leads to (Tarjan's algorithm, without recursion)."""
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    waiting: set[int] = set()
    groups: list[list[int]] = []
    for start in range(len(edges)):
        if start in order:
            continue
        path = [(start, iter(edges[start]))]
        order[start] = low[start] = len(order)
        stack.append(start)
        waiting.add(start)
        while path:
            rule, others = path[-1]
            for other in others:
                if other not in order:
                    order[other] = low[other] = len(order)
                    stack.append(other)
                    waiting.add(other)
                    path.append((other, iter(edges[other])))
                    break
                if other in waiting:
                    low[rule] = min(low[rule], order[other])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[rule])
                if low[rule] == order[rule]:
                    groups.append(_popped(stack, rule))
                    waiting.difference_update(groups[-1])
    return groups


def _popped(stack: list[int], rule: int) -> list[int]:
    group = [stack.pop()]
    while group[-1] != rule:
        group.append(stack.pop())
    return group


def _refuse_explosion(rules: Rules, empty: set[int], groups: list[list[int]]) -> None:
    ways: dict[int, int] = {}
    steps: dict[int, int] = {}
    for rule in (rule for group in groups for rule in group):
        ways[rule], steps[rule] = 0, 1
        for items in _alternatives(rules, rule):
            begun = [other for other, _ in _beginnings(items, empty)]
            ways[rule] += 1 + sum(ways.get(other, 0) for other in begun)
            steps[rule] = max(steps[rule], 1 + max((steps.get(other, 0) for other in begun), default=0))
        if ways[rule] > MAX_WAYS or steps[rule] > MAX_STEPS:
            name = rules.names[rule]
            raise InvalidSampling(f"the grammar is too ambiguous: rule {name!r:.100} can begin in too many ways")
