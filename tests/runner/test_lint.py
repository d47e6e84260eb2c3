"""What is wrong with a chat template is found without running it."""

import tracemalloc
from pathlib import Path

import pytest
import tiny as tiny_model
import vocabs
from steps import calls

from llstore.runner.chat.lint import lint
from llstore.runner.chat.template import MAX_SOURCE
from llstore.store.gguf import read_header


def template(path: Path) -> str:
    with path.open("rb") as file:
        found = read_header(file, path.stat().st_size).template
    assert found is not None
    return found


def test_the_templates_of_real_models_pass(smollm2: Path) -> None:
    assert lint(tiny_model.TEMPLATE) == []
    assert lint(template(smollm2)) == []
    for name in ("qwen2", "phi-3", "command-r", "gemma-4"):
        assert lint(template(vocabs.fetch()[name])) == [], name


@pytest.mark.parametrize(
    "source",
    [
        "",
        "{% generation %}{{ messages[0]['role'] | default('x') }}{% endgeneration %}",
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m | tojson(indent=2) }}{% endfor %}",
        "{{ raise_exception('no') if not messages else strftime_now('%Y') }}",
        "{% macro f(x) %}{{ x is string }}{% endmacro %}{{ f('__init__ is text here') }}",
        "{% set ns = namespace(n=1) %}{% set ns.n = 2 %}{{ messages | selectattr('role', 'equalto', 'user') | list }}",
    ],
)
def test_what_the_sandbox_renders_passes(source: str) -> None:
    assert lint(source) == []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{% if %}", "broken in line 1"),
        ("a\nb\n{{ messages[", "broken in line 3"),
        ("{% if true %}", "broken"),
        ("{{ messages | urlize }}", "filter 'urlize'"),
        ("{% if false %}{{ 1 | attr('x') }}{% endif %}", "filter 'attr'"),
        ("{% if messages is haunted %}{% endif %}", "test 'haunted'"),
        ("{{ ''.__class__.__mro__ }}", "'__mro__'"),
        ("{{ ''['__class__'] }}", "'__class__'"),
        ("{{ messages | map(attribute='x.__class__') | list }}", "'x.__class__'"),
        ("{{ messages | selectattr('__init__') | list }}", "'__init__'"),
        ("{{ 'a'.format_map(messages[0]) }}", "'format_map'"),
        ("{% include 'other' %}", "another template"),
        ("{% import 'other' as o %}", "another template"),
        ("{% extends 'other' %}", "another template"),
        ("{% block a %}{% endblock %}{% block a %}{% endblock %}", "broken"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "cannot be parsed"),
        ("{{ " + "1 + " * 3000 + "1 }}", "nested"),
        ("{% if a %}" * 150 + "{% endif %}" * 150, "nested"),
        ("x" * (MAX_SOURCE + 1), "more than"),
    ],
)
def test_what_the_sandbox_would_refuse_is_named(source: str, words: str) -> None:
    found = lint(source)
    assert len(found) >= 1
    assert words in found[0]


def test_linting_runs_nothing() -> None:
    assert lint("{% for a in range(10000000) %}{% for b in range(10000000) %}{% endfor %}{% endfor %}") == []
    assert lint("{{ raise_exception('at once') }}{{ 1 / 0 }}") == []


@pytest.mark.parametrize("piece", ["{{a|e}}", "{{a~a}}\n", "{%if a%}{%endif%}", "{{[[["])
def test_a_long_template_is_linted_in_calls_as_many_as_its_characters_and_cheaply(piece: str) -> None:
    # An eighth of the longest, for counting and weighing take ten times as long.
    source = piece * (MAX_SOURCE // 8 // len(piece))
    assert calls(lambda: lint(source)) < 120 * len(source)
    tracemalloc.start()
    try:
        lint(source)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
