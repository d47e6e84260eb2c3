"""How families of models write their calls. Which family it is, the chat template tells."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Form:
    """What calls look like to a reader.

    A call stands behind `opening`, before the first of which `lead` may stand; a `bare` one where the answer begins.
    It is a JSON object, in `lists` also a list of such, or a name, a `separator` and the arguments. What is in
    `closing` may follow, in this order.
    """

    opening: str = ""
    lead: str = ""
    bare: bool = False
    lists: bool = False
    separator: str = ""
    closing: tuple[str, ...] = ()
    replies: bool = False  # whether `{"reply": …}` is a text for people


@dataclass(frozen=True, slots=True)
class Style:
    """How calls are written: `start`, the calls with `between` between them, `end`; one may be `alone`, without start
    and end. A call is `before`, its name, `middle`, its arguments, `after`."""

    before: str = '{"name": "'
    middle: str = '", "arguments": '
    after: str = "}"
    start: str = ""
    between: str = ""
    end: str = ""
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """A way to call tools. `marks` are the texts in it that may be special tokens; `several` is whether it has a way
    to call several at once."""

    name: str
    form: Form
    style: Style
    marks: tuple[str, ...] = ()
    several: bool = True


HERMES = Family(
    "hermes",
    Form("<tool_call>", closing=("</tool_call>",)),
    Style(before='<tool_call>\n{"name": "', after="}\n</tool_call>", between="\n"),
    marks=("<tool_call>", "</tool_call>"),
)
LLAMA3 = Family(
    "llama3",
    Form("<|python_tag|>", bare=True, closing=(";",)),
    Style(middle='", "parameters": '),
    marks=("<|python_tag|>",),
    several=False,
)
_MISTRAL_FORM = Form("[TOOL_CALLS]", lists=True, separator="[ARGS]")
_MISTRAL_MARKS = ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]")
MISTRAL = Family(
    "mistral",
    _MISTRAL_FORM,
    Style(start="[TOOL_CALLS][", between=", ", end="]"),
    marks=_MISTRAL_MARKS,
)
MISTRAL_NAMED = Family(
    "mistral",
    _MISTRAL_FORM,
    Style(before="[TOOL_CALLS]", middle="[ARGS]", after=""),
    marks=_MISTRAL_MARKS,
)


def _deepseek(words: str) -> str:
    """One of DeepSeek's marks, with its wide bars and its underlines."""
    return "<\uff5c" + words.replace(" ", "\u2581") + "\uff5c>"


_BEGIN, _END = _deepseek("tool calls begin"), _deepseek("tool calls end")
_CALL, _SEP, _CALL_END = _deepseek("tool call begin"), _deepseek("tool sep"), _deepseek("tool call end")
_DEEPSEEK_MARKS = (_BEGIN, _CALL, _SEP, _CALL_END, _END)
DEEPSEEK = Family(
    "deepseek",
    Form(_CALL, lead=_BEGIN, separator=_SEP, closing=(_CALL_END, _END)),
    Style(start=_BEGIN, before=_CALL, middle=_SEP, after=_CALL_END, end=_END),
    marks=_DEEPSEEK_MARKS,
)
DEEPSEEK_FENCED = Family(
    "deepseek",
    Form(f"{_CALL}function{_SEP}", lead=_BEGIN, separator="\n```json\n", closing=("```", _CALL_END, _END)),
    Style(
        start=_BEGIN,
        before=f"{_CALL}function{_SEP}",
        middle="\n```json\n",
        after=f"\n```{_CALL_END}",
        between="\n",
        end=_END,
    ),
    marks=_DEEPSEEK_MARKS,
)
GRANITE = Family(
    "granite",
    Form("<|tool_call|>", lists=True),
    Style(start="<|tool_call|>[", between=", ", end="]"),
    marks=("<|tool_call|>",),
)
GENERIC = Family(
    "generic",
    Form(bare=True, lists=True, replies=True),
    Style(start="[", between=", ", end="]", alone=True),
)

# What others that write <tool_call> put into it instead of JSON.
_NO_HERMES = ("<function=", "<arg_key>", "```json")


def family_of(template: str | None) -> Family:
    """The family that a chat template, a Jinja source, belongs to; GENERIC for one that knows no tools, or those of
    none that is known here."""
    if template is None or "tools" not in template:
        return GENERIC
    if _CALL in template:
        return DEEPSEEK_FENCED if "```json" in template else DEEPSEEK
    if "[TOOL_CALLS]" in template:
        return MISTRAL_NAMED if "[ARGS]" in template else MISTRAL
    if "<tool_call>" in template and "arguments" in template and not any(one in template for one in _NO_HERMES):
        return HERMES
    if "<|tool_call|>" in template:
        return GRANITE
    if "<|python_tag|>" in template or ("ipython" in template and '"parameters"' in template):
        return LLAMA3
    return GENERIC
