"""What a server allows its callers, in one value."""

from dataclasses import dataclass, field

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Rules:
    """`queue` sequences may wait beside those that have a slot. A body has at most `body` bytes and all bodies that
    are being read `bodies`, JSON is at most `depth` deep, a request's head has `head` bytes.

    Head and body must be there within `head_seconds` and `body_seconds`, and who takes nothing for `stall_seconds` of
    what is sent is cut off. An idle connection is kept for `idle_seconds`; there are at most `connections`. At the end,
    answers have `drain` seconds to be finished.

    `hosts` may be the Host of a request beside this machine's own names, * is any. With `log_prompts`, the log has what
    callers ask.
    """

    queue: int = 256
    connections: int = 4096
    body: int = 8 * MIB
    bodies: int = 256 * MIB
    depth: int = 64
    head: int = 32 * 1024
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    stall_seconds: float = 60.0
    idle_seconds: float = 75.0
    drain: float = 30.0
    hosts: frozenset[str] = frozenset()
    log_prompts: bool = False


@dataclass(slots=True)
class Live:
    """The rules of the moment: a server that runs may be given others."""

    rules: Rules = field(default_factory=Rules)
