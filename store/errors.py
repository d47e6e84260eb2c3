"""What the store can fail with. No error of botocore, sqlalchemy or sqlite3 leaves this room.

StoreError
├── InvalidRef             not a digest, prefix or name
├── AmbiguousRef           a prefix that several models share
├── InvalidUrl             a store URL that cannot be opened
├── InvalidSource          not a place that a model can be imported from
│   └── AmbiguousSource    a place that holds several models
├── InvalidLabel           a label that is not KEY=VALUE
├── InvalidFilter          a condition on a list that says nothing
├── NotFound
│   ├── ModelNotFound      no such model in the store or, offline, on this machine
│   ├── BucketNotFound     no such bucket or folder
│   ├── KeyNotFound        no such object; never leaves the store
│   └── FileNotThere       no such file
├── Damaged                bytes are not what their name says
├── Unreachable            the store does not answer
├── Refused                the store answers no
├── NoSpace                the disk or the quota is full
│   └── OverBudget         the cache may not grow so much
├── Unsafe                 a file the gate refuses: empty, not GGUF, not whole
├── SourceChanged          a file changed while it was being put
├── InvalidProject         a project's [models] that cannot be used
├── LockBroken             llstore.lock and what it is held against disagree
├── FileKept               a file stands where one was to be written
├── DiskError              the operating system refused a file or folder
├── RoleConflict           a stored model has another role
├── StillNamed             a model to be removed has names that were not given
├── FormatTooNew           written by a later llstore
└── ExtraMissing           a package that llstore's extras bring is not installed
"""


class StoreError(Exception):
    """Something failed: the message says what, on what; the hint says what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class InvalidRef(StoreError):
    """Not a digest, a digest prefix or a name."""


class AmbiguousRef(StoreError):
    """A prefix that several models share; `candidates` are their digests, as text."""

    def __init__(self, message: str, *, candidates: list[str]) -> None:
        super().__init__(message, hint="type more of the digest: " + ", ".join(candidates))
        self.candidates = candidates


class InvalidUrl(StoreError):
    """A store URL that cannot be opened."""


class InvalidSource(StoreError):
    """Not a place that a model can be imported from."""


class AmbiguousSource(InvalidSource):
    """A place that holds several models: the hint says how to name one."""


class InvalidLabel(StoreError):
    """A label that is not KEY=VALUE."""


class InvalidFilter(StoreError):
    """A condition on a list that says nothing."""


class NotFound(StoreError):
    """Something asked for by name is not there."""


class ModelNotFound(NotFound):
    """No such model in the store or, offline, on this machine."""


class BucketNotFound(NotFound):
    """No such bucket or folder."""


class KeyNotFound(NotFound):
    """No such object in a bucket that exists."""


class FileNotThere(NotFound):
    """No such file."""


class Damaged(StoreError):
    """Bytes are not what their name says."""


class Unreachable(StoreError):
    """The store does not answer."""


class Refused(StoreError):
    """The store answers no: credentials, permissions."""


class NoSpace(StoreError):
    """The disk or the quota is full."""


class OverBudget(NoSpace):
    """The cache may not grow so much: the message names what holds its budget."""


class Unsafe(StoreError):
    """A file the gate refuses: empty, not GGUF, not whole. `code` names the kind of fault in a word."""

    def __init__(self, message: str, *, hint: str = "", code: str = "header") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class SourceChanged(StoreError):
    """A file changed while it was being put."""


class InvalidProject(StoreError):
    """A project's `[models]` that cannot be used."""


class LockBroken(StoreError):
    """The lock does not hold: it disagrees with the project, with itself, or with the store."""


class FileKept(StoreError):
    """A file stands where one was to be written; it was kept."""


class DiskError(StoreError):
    """The operating system refused a file or folder."""


class RoleConflict(StoreError):
    """The model is stored already, with another role."""


class StillNamed(StoreError):
    """A model that was to be removed has names that were not given."""


class FormatTooNew(StoreError):
    """Written by a later llstore than this one."""


class ExtraMissing(StoreError):
    """A package is not installed: the hint says what to install."""
