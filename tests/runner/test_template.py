"""Chat templates render as transformers renders them, and a hostile one is stopped."""

import sys
import time

import pytest

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


LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
DOUBLING = "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set ns.x = STEP %}{% endfor %}{{ ns.x }}"


@pytest.mark.parametrize(
    "source",
    [
        LOOP,
        "{% set x %}" + LOOP + "{% endset %}",
        "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{{ range(99999) | map('string') | list | sort | join(range(99999) | join) }}",
        "{{ 'a' * 10 ** 10 }}",
        "{{ ['a'] * 10 ** 10 }}",
        "{{ 10 ** (10 ** 10) }}",
        "{{ 7 ** (100 ** 3) }}",
        "{{ '%9999999999d' % 1 }}",
        "{{ '%*d' % (9999999999, 1) }}",
        "{{ '{:9999999999}'.format(1) }}",
        "{{ '{:{}}'.format(1, 9999999999) }}",
        "{{ 'a'.center(9999999999) }}",
        "{{ 'a'.ljust(width=9999999999) }}",
        "{{ 'a'.zfill(9999999999) }}",
        "{{ ('\t' * 1000).expandtabs(10000000) }}",
        "{{ ('\n' * 1000000) | indent(1000000, true) }}",
        "{{ ('a' * 1000000) | replace('a', 'b' * 1000000) }}",
        "{{ ('a' * 1000000).replace('', 'b' * 1000000) }}",
        "{{ ('a' * 1000000).join('b' * 1000000) }}",
        "{{ range(99999) | join('b' * 1000000) }}",
        "{{ [1] | batch(9999999999, 'x') | list }}",
        "{{ 5 | round(9999999) }}",
        "{{ 'a'.translate({97: 'b' * 1000000}) }}",
        "{{ (1).to_bytes(9999999999, 'big') }}",
        "{{ [1] | tojson(indent=99999999) }}",
        "{{ [[1] * 1000] * 1000 | tojson(separators=('a' * 1000000, ':')) }}",
        DOUBLING.replace("STEP", "ns.x + ns.x"),
        DOUBLING.replace("STEP", "ns.x ~ ns.x"),
        DOUBLING.replace("STEP", "[ns.x, ns.x]"),
        DOUBLING.replace("STEP", "(ns.x, ns.x)"),
        DOUBLING.replace("STEP", "{'a': ns.x, 'b': ns.x}"),
        DOUBLING.replace("STEP", "dict(a=ns.x, b=ns.x)"),
        DOUBLING.replace("STEP", "ns.x.replace('a', 'aa')"),
        DOUBLING.replace("STEP", "'%s%s' % (ns.x, ns.x)"),
        DOUBLING.replace("STEP", "'{0}{0}'.format(ns.x)"),
        DOUBLING.replace("STEP", "ns.x | replace('a', 'aa')"),
        DOUBLING.replace("x='aaaaaaaa'", "x=99").replace("STEP", "ns.x * ns.x"),
        "{% for a in range(99999) %}{{ 'a' * 1000 }}{% endfor %}",
        "{% set x %}{% for a in range(99999) %}{{ 'a' * 1000 }}{% endfor %}{% endset %}",
        "{% set ns = namespace(x=[]) %}{% for a in range(9999) %}{% set ns.x = ns.x + ['a' * 9999 ~ a] %}{% endfor %}",
        "{{ ''.__class__.__mro__[1].__subclasses__() | length }}",
        "{{ ''['__class__']['__mro__'] | length }}",
        "{{ '{0.__class__.__mro__}'.format('').x.y }}",
        "{{ (''|attr('__class__')).x }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ self._TemplateReference__context.environment.x }}",
        "{{ raise_exception.__globals__.x }}",
        "{{ messages.append({}) }}",
        "{{ messages[0].update({'role': 'x'}) }}",
        "{{ lipsum(999999999) }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ raise_exception('System role not\n supported') }}",
        "{{ 1 / 0 }}",
        "{{ unclosed",
        "{% for %}",
        "{{ 'x' | nothing }}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ " + "-" * 100000 + "1 }}",
        "{% if 1 %}" * 500 + "{% endif %}" * 500,
        "x" * ((1 << 20) + 1),
    ],
)  # fmt: skip
def test_a_hostile_or_broken_template_fails_in_time_and_in_one_line(source: str) -> None:
    started = time.monotonic()
    with pytest.raises(TemplateFailed) as raised:
        render(source)
    assert time.monotonic() - started < 4
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


def test_the_limit_of_time_is_kept_to() -> None:
    started = time.monotonic()
    with pytest.raises(TemplateFailed, match=r"longer than 0\.2 seconds"):
        Template(LOOP, bos="", eos="", max_seconds=0.2).render(MESSAGES)
    assert time.monotonic() - started < 1


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
