"""The lock as a file: what is written is read back, equal facts are equal bytes, contradictions are not believed."""

import tomllib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llstore.store import Digest, Manifest, Role
from llstore.store.errors import FormatTooNew, InvalidProject, LockBroken
from llstore.store.lock import toml
from llstore.store.lock.agreement import with_manifest, with_project
from llstore.store.lock.key import PREFIX, cache_key
from llstore.store.lock.lockfile import Locked, Lockfile
from llstore.store.lock.project import Wanted, parse_models
from llstore.store.lock.reading import decode
from llstore.store.lock.resolve import changes
from llstore.store.manifest import FileEntry, ModelFacts


def digest(text: str) -> Digest:
    return Digest.of(text.encode())


def entry(name: str, role: Role = Role.WEIGHTS, size: int = 10) -> FileEntry:
    return FileEntry(role, digest(name), size, digest(f"blocks of {name}"))


ONE = Manifest((entry("one"),), ModelFacts(architecture="llama", parameters=7, license="apache-2.0"))
TWO = Manifest((entry("two"), entry("eye", Role.PROJECTOR, 5)), ModelFacts(template=digest("template")))
CHAT = Locked.of(Wanted("chat", "team/chat:prod"), ONE)
EYES = Locked.of(Wanted("eyes", "team/eyes", roles=(Role.PROJECTOR,), profiles=("ci", "dev")), TWO)
LOCK = Lockfile.of([EYES, CHAT])


def test_a_lock_is_read_back_as_it_was_written() -> None:
    assert decode(LOCK.encode()) == LOCK
    assert decode(Lockfile().encode()) == Lockfile()


def test_the_same_models_in_any_order_are_the_same_bytes_sorted_by_name() -> None:
    assert Lockfile.of([CHAT, EYES]).encode() == LOCK.encode()
    assert [table["name"] for table in tomllib.loads(LOCK.encode().decode())["model"]] == ["chat", "eyes"]


def test_each_fact_and_each_file_has_a_line_of_its_own() -> None:
    lines = LOCK.encode().decode().splitlines()
    assert f'digest = "{ONE.model}"' in lines
    assert [line for line in lines if digest("eye").hex in line] == [
        f'  {{ role = "projector", digest = "{digest("eye")}", size = 5, blocks = "{digest("blocks of eye")}" }},'
    ]
    assert 'license = "apache-2.0"' in lines
    assert "size = 15" in lines


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_toml(text: str) -> None:
    assert tomllib.loads(f"x = {toml.string(text)}")["x"] == text
    assert toml.string(text).isprintable()


def test_half_a_character_is_written_as_one_that_is_unknown() -> None:
    assert toml.string("a\ud800b") == '"a\ufffdb"'


@given(st.text(), st.text(), st.integers(0, 2**63 - 1))
def test_a_header_may_claim_any_text_and_the_lock_stays_toml(license: str, arch: str, count: int) -> None:
    facts = ModelFacts(license=license, architecture=arch, parameters=count)
    locked = Locked.of(Wanted("x", "a/b"), Manifest((entry("one"),), ModelFacts()))
    told = replace(locked, license=facts.license, architecture=facts.architecture, parameters=facts.parameters)
    (read,) = decode(Lockfile.of([told]).encode()).models
    assert (read.parameters, len(read.license or "")) == (count, len(license))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("size = 10\n", "size = 11\n", "its size is 11, and that of its files 10"),
        ("size = 10\n", "size = -1\n", "-1 is not a size"),
        ("size = 10\n", "size = 10.0\n", "10.0 is not a size"),
        ("size = 10\n", "", "chat: size is missing"),
        (f'digest = "{ONE.model}"\n', f'digest = "{digest("other")}"\n', "its digest is"),
        (f'digest = "{TWO.model}"\n', f'digest = "{digest("other")}"\n', "that of its manifest"),
        (f'digest = "{ONE.model}"\n', 'digest = "sha256:12"\n', "not a SHA-256"),
        (f"{digest('eye')}", f"{digest('two')}", "a file twice"),
        ('ref = "team/chat:prod"', 'ref = "chat"', "needs a '/'"),
        ('ref = "team/chat:prod"', f'ref = "team/chat@{digest("other")}"', "its ref is"),
        ('ref = "team/chat:prod"', 'ref = "00000000"', "its ref is"),
        ('roles = ["projector"]', 'roles = ["draft"]', "no file of a role"),
        ('roles = ["projector"]', 'roles = ["eye"]', "roles must be"),
        ('profiles = ["ci", "dev"]', 'profiles = "ci"', "profiles must be"),
        ("parameters = 7", "parameters = true", "not a size or a count"),
        ("parameters = 7", "parametres = 7", "what is parametres?"),
        ('role = "weights"', 'role = "wights"', "roles must be"),
        (', size = 5, blocks = "', ', blocks = "', "no more and no less"),
        ('name = "eyes"', 'name = "chat"', "chat is in it twice"),
        ('name = "eyes"', 'name = ""', "has no name"),
        ("version = 1\n", "", "names no version"),
        ("version = 1\n", 'version = 1\nstore = "x"\n', "more than a version"),
        ("version = 1\n", "<<<<<<< HEAD\nversion = 1\n", "not TOML"),
        ("version = 1\n", "version = " + "[" * 3000 + "\n", "not TOML"),
    ],
)
def test_a_lock_edited_by_hand_does_not_hold_and_says_where(old: str, new: str, said: str) -> None:
    text = LOCK.encode().decode()
    assert old in text
    with pytest.raises(LockBroken) as failed:
        decode(text.replace(old, new, 1).encode())
    assert said in str(failed.value)
    assert "\n" not in str(failed.value)


def test_bytes_that_are_no_text_are_a_broken_lock() -> None:
    with pytest.raises(LockBroken, match="not TOML"):
        decode(b"\xff\xfe")


def test_a_lock_of_a_later_version_is_not_guessed_at() -> None:
    with pytest.raises(FormatTooNew, match="version 2") as failed:
        decode(b"version = 2\nmodel = 'of another kind'\n")
    assert "upgrade" in failed.value.hint


def test_what_a_project_wants_is_read_from_its_table() -> None:
    table = {
        "eyes": {"ref": "team/eyes", "roles": ["projector", "weights"], "profiles": ["dev", "ci", "ci"]},
        "chat": "team/chat:prod",
    }
    assert parse_models(table) == (
        Wanted("chat", "team/chat:prod"),
        Wanted("eyes", "team/eyes", (Role.WEIGHTS, Role.PROJECTOR), ("ci", "dev")),
    )


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (None, "names no models"),
        (["team/chat"], "is no table"),
        ({"chat": 7}, "chat names no ref"),
        ({"chat": {"roles": ["weights"]}}, "chat names no ref"),
        ({"chat": {"ref": ["a/b"]}}, "chat names no ref"),
        ({"chat": {"ref": "a/b", "check": False}}, "chat may not set check"),
        ({"chat": "chat"}, "chat: a name needs a '/'"),
        ({"chat": "sha256:12"}, "64 hex digits"),
        ({"chat": {"ref": "a/b", "roles": "weights"}}, "roles must be a list"),
        ({"chat": {"ref": "a/b", "roles": [["weights"]]}}, "roles must be a list"),
        ({"chat": {"ref": "a/b", "roles": []}}, "roles must be a list"),
        ({"chat": {"ref": "a/b", "profiles": ["a b"]}}, "profiles must be a list"),
        ({"a.b": "a/b"}, "not a name for a model"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(table: object, said: str) -> None:
    with pytest.raises(InvalidProject) as failed:
        parse_models(table)
    assert said in str(failed.value)


def test_a_role_that_the_model_has_no_file_of_cannot_be_locked() -> None:
    with pytest.raises(InvalidProject, match="no file of the role draft") as failed:
        Locked.of(Wanted("eyes", "a/b", roles=(Role.DRAFT,)), TWO)
    assert failed.value.hint == "it has weights, projector"


def test_a_profile_takes_its_models_and_those_of_none() -> None:
    only = Lockfile.of([CHAT, EYES, replace(EYES, name="night", profiles=("night",))])
    assert [model.name for model in only.of_profiles(["ci"])] == ["chat", "eyes"]
    assert [model.name for model in only.of_profiles(["night", "dev"])] == ["chat", "eyes", "night"]
    assert len(only.of_profiles([])) == 3
    with pytest.raises(InvalidProject, match="profile c1") as failed:
        only.of_profiles(["c1"])
    assert failed.value.hint == "known: ci, dev, night"


def test_only_the_files_of_wanted_roles_are_wanted() -> None:
    assert [file.role for file in EYES.wanted_files] == [Role.PROJECTOR]
    assert CHAT.wanted_files == ONE.files


def test_the_project_and_the_lock_agree_by_meaning() -> None:
    wanted = [Wanted("chat", "team/chat:prod"), Wanted("eyes", "team/eyes:latest", EYES.roles, EYES.profiles)]
    assert with_project(LOCK, wanted) == []


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ([Wanted("chat", "team/chat:dev")], "chat: llstore.toml says team/chat:dev, llstore.lock team/chat:prod"),
        ([Wanted("chat", "team/chat:prod", profiles=("x",))], "chat: llstore.toml says profiles x, llstore.lock all"),
        ([], "chat: is in llstore.lock and not in llstore.toml"),
        (
            [Wanted("chat", "team/chat:prod"), Wanted("new", "a/b")],
            "new: is in llstore.toml and not in llstore.lock",
        ),
    ],
)
def test_where_project_and_lock_disagree_is_said(wanted: list[Wanted], said: str) -> None:
    assert [str(one) for one in with_project(Lockfile.of([CHAT]), wanted)] == [said]


def test_a_manifest_that_tells_more_facts_of_the_same_files_agrees() -> None:
    more = replace(ONE, facts=replace(ONE.facts, tokenizer="gpt2", quantization="Q4_1"))
    assert more.digest != CHAT.manifest
    assert with_manifest(CHAT, more) == []


@pytest.mark.parametrize(
    "manifest",
    [
        replace(ONE, files=(replace(ONE.files[0], size=11),)),
        replace(ONE, files=(replace(ONE.files[0], blocks=digest("other")),)),
        replace(ONE, files=(replace(ONE.files[0], role=Role.OTHER),)),
        replace(ONE, files=(replace(ONE.files[0], digest=digest("other")),)),
        replace(ONE, facts=replace(ONE.facts, license="mit")),
        TWO,
    ],
)
def test_a_manifest_of_other_files_or_facts_does_not_agree(manifest: Manifest) -> None:
    (found, *_) = with_manifest(CHAT, manifest)
    assert found.kind == "differs"


def test_what_changed_is_told_a_line_each() -> None:
    moved = replace(Locked.of(Wanted("chat", "team/chat:prod"), TWO))
    asked = replace(EYES, profiles=())
    told = changes(LOCK, Lockfile.of([moved, asked, replace(EYES, name="new")]))
    assert [(one.name, one.kind) for one in told] == [("chat", "moved"), ("eyes", "changed"), ("new", "added")]
    assert str(told[0]) == f"moved chat from {ONE.model} to {TWO.model}"
    assert [str(one) for one in changes(LOCK, Lockfile.of([CHAT]))] == [f"removed eyes {TWO.model}"]
    assert changes(LOCK, LOCK) == []


def test_the_cache_key_is_a_function_of_what_a_sync_brings() -> None:
    key = cache_key(LOCK.models)
    assert key.startswith(PREFIX)
    assert len(key.removeprefix(PREFIX)) == 32
    assert key == cache_key(reversed(LOCK.models))
    renamed = (replace(CHAT, name="talk", ref="team/talk", license="mit", profiles=("x",)), EYES)
    assert key == cache_key(renamed)
    others = [(CHAT,), (EYES,), (CHAT, replace(EYES, roles=())), ()]
    assert len({key, *map(cache_key, others)}) == 5
