"""What a project wants: the `[models]` table of its llstore.toml."""

import re
from dataclasses import dataclass

from ..errors import InvalidProject, InvalidRef
from ..manifest import Role
from ..ref import Ref, parse_ref

_WORD = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KEYS = {"ref", "roles", "profiles"}
_EXAMPLE = 'chat = "team/chat:prod", or chat = {ref = "…", roles = ["weights"], profiles = ["ci"]}'


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model that a project wants, under the project's own name for it. `ref` is as it was written.

    Without `roles` all files are wanted; without `profiles` it is in every profile.
    """

    name: str
    ref: str
    roles: tuple[Role, ...] = ()
    profiles: tuple[str, ...] = ()

    @property
    def meaning(self) -> Ref:
        """What the ref refers to, however it is written."""
        return parse_ref(self.ref)


def parse_models(table: object) -> tuple[Wanted, ...]:
    """The models that a `[models]` table wants, by name; raises InvalidProject."""
    if table is None:
        raise InvalidProject("llstore.toml names no models", hint=f"[models] holds {_EXAMPLE}")
    if not isinstance(table, dict):
        raise InvalidProject("models in llstore.toml is no table", hint=f"[models] holds {_EXAMPLE}")
    return tuple(_wanted(str(name), table[name]) for name in sorted(table))


def is_word(text: object) -> bool:
    """Whether it can name a model of a project, or a profile."""
    return isinstance(text, str) and _WORD.fullmatch(text) is not None


def words(names: object) -> tuple[str, ...]:
    """The names of profiles in a list, sorted, each once; raises ValueError."""
    if not isinstance(names, list) or not names or not all(map(is_word, names)):
        raise ValueError("profiles must be a list of names of letters, digits, - and _")
    return tuple(sorted(set(names)))


def known_roles(names: object) -> tuple[Role, ...]:
    """The roles in a list, in their own order, each once; raises ValueError."""
    if not isinstance(names, list) or not names or not all(name in list(Role) for name in names):
        raise ValueError(f"roles must be a list of some of {', '.join(Role)}")
    return tuple(role for role in Role if role in names)


def _wanted(name: str, value: object) -> Wanted:
    if not is_word(name):
        raise InvalidProject(f"not a name for a model: {name[:80]!r}", hint="it has letters, digits, - and _")
    given = {"ref": value} if isinstance(value, str) else value
    if not isinstance(given, dict) or not isinstance(given.get("ref"), str):
        raise InvalidProject(f"llstore.toml: {name} names no ref", hint=f"[models] holds {_EXAMPLE}")
    if unknown := sorted(set(given) - _KEYS):
        raise InvalidProject(
            f"llstore.toml: {name} may not set {', '.join(unknown)}", hint=f"it may set {', '.join(sorted(_KEYS))}"
        )
    try:
        parse_ref(given["ref"])
        roles = known_roles(given["roles"]) if "roles" in given else ()
        profiles = words(given["profiles"]) if "profiles" in given else ()
    except InvalidRef as error:
        raise InvalidProject(f"llstore.toml: {name}: {error}", hint=error.hint) from error
    except ValueError as error:
        raise InvalidProject(f"llstore.toml: {name}: {error}") from error
    return Wanted(name, given["ref"], roles, profiles)
