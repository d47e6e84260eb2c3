"""Chat templates render as transformers renders them, and a hostile one is stopped."""

import sys

import pytest
from hostile_templates import HOSTILE, LOOP

from llstore.runner import TemplateFailed
from llstore.runner.chat.template import Template

MESSAGES = [{"role": "system", "content": "Be <b>brief</b> & kind."}, {"role": "user", "content": "Hé"}]


def render(source: str) -> str:
    return Template(source, bos="<s>", eos="</s>").render(MESSAGES)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        (
            "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m['content'] }}{{ eos_token }}{% endfor %}",
            "<s>[system]Be <b>brief</b> & kind.</s>[user]Hé</s>",
        ),
        ("{% if add_generation_prompt %}go{% endif %}{% if tools is none %}!{% endif %}", "go!"),
        ("{{ messages[1] | tojson }}", '{"role": "user", "content": "Hé"}'),
        ("{{ messages[0].content | tojson }}", '"Be <b>brief</b> & kind."'),
        ("{{ {'a': [1]} | tojson(indent=2) }}", '{\n  "a": [\n    1\n  ]\n}'),
        (
            "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.content }}{% break %}{% endfor %}",
            "Hé",
        ),
        ("  {% if true %}\nx\n  {% endif %}\ny", "x\ny"),
        (
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
            "2",
        ),
        (
            "{{ 'a' ~ 1 ~ none }}|{{ 'a' + 'b' }}|{{ '-' * 3 }}|{{ 7 % 4 }}|{{ 2 ** 10 }}|{{ '%s!' % 'x' }}",
            "a1None|ab|---|3|1024|x!",
        ),
        (
            "{{ '{} and {}'.format('a', 'b') }}|{{ 'a,b'.split(',') | join('+') }}|{{ ', '.join(['a', 'b']) }}",
            "a and b|a+b|a, b",
        ),
        (
            "{{ messages | map(attribute='role') | join('/') }}|{{ messages | join('/', attribute='role') }}",
            "system/user|system/user",
        ),
        (
            "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ messages[1:] | length }}",
            "11",
        ),
        ("{% macro f(x, y=2) %}({{ x }}{{ y }}){% endmacro %}{{ f(1) }}{{ f(1, y=3) }}", "(12)(13)"),
        ("{% set x %}a{{ 1 }}{% endset %}{{ x | upper }}{% generation %}g{% endgeneration %}", "A1g"),
        (
            "{% set a, b = ('x', 'y') %}{{ b }}{{ a }}{% for k, v in {'p': 1}.items() %}{{ k }}{{ v }}{% endfor %}",
            "yxp1",
        ),
        (
            "{{ 'a\nb' | indent(2) }}|{{ ' x ' | trim }}|{{ 'x'.replace('x', 'yy') }}|{{ 'x' | replace('x', 'z') }}",
            "a\n  b|x|yy|z",
        ),
        ("{{ undefined_thing }}{{ messages[0].nothing is defined }}{{ strftime_now('%%') }}", "False%"),
        ("{{ 'true' if 'b' in 'abc' and messages[0]['role'] == 'system' else 'false' }}", "true"),
    ],
)
def test_what_templates_use_works(source: str, wanted: str) -> None:
    assert render(source) == wanted


@pytest.mark.parametrize("source", HOSTILE)
def test_a_hostile_or_broken_template_fails_in_one_line(source: str) -> None:
    # A fifth of the time that they have otherwise: none of them would come to its end within years.
    with pytest.raises(TemplateFailed) as raised:
        Template(source, bos="<s>", eos="</s>", max_seconds=0.4).render(MESSAGES)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


def test_the_limit_of_time_is_kept_to() -> None:
    # To its end it would take years.
    with pytest.raises(TemplateFailed, match=r"longer than 0\.2 seconds"):
        Template(LOOP, bos="", eos="", max_seconds=0.2).render(MESSAGES)


def test_a_tracer_of_the_caller_is_there_again_afterwards() -> None:
    def tracer(*_: object) -> None:
        return None

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        render("{{ 1 }}")
        with pytest.raises(TemplateFailed):
            Template(LOOP, bos="", eos="", max_seconds=0.1).render(MESSAGES)
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)


def test_a_templates_own_complaint_is_repeated() -> None:
    with pytest.raises(TemplateFailed, match="Roles must alternate"):
        render("{{ raise_exception('Roles must alternate') }}")


def test_rendering_leaves_the_messages_as_they_were() -> None:
    before = [dict(message) for message in MESSAGES]
    render("{% for m in messages %}{% set x = m %}{% endfor %}")
    assert before == MESSAGES
