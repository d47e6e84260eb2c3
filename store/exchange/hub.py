"""The one door to huggingface_hub: what a repository holds, and a file of it. None of its errors leaves this module.

It finds the token (HF_TOKEN) and the server (HF_ENDPOINT) by itself.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..digest import Digest
from ..disk import disk_errors
from ..errors import ExtraMissing, InvalidSource, ModelNotFound, Refused, StoreError, Unreachable
from ..progress import Progress

try:
    import huggingface_hub
    from huggingface_hub import errors
    from huggingface_hub.utils import logging, tqdm
except ImportError as error:
    raise ExtraMissing("huggingface_hub is not installed", hint="pip install 'llstore[hf]'") from error

_TOKEN = "set HF_TOKEN to a token that may read it"


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository: its path, its bytes, and the SHA-256 that the hub states (of large files only)."""

    path: str
    size: int
    digest: Digest | None


@dataclass(frozen=True, slots=True)
class Repo:
    """A repository at one commit; `license` is what its model card says."""

    id: str
    commit: str
    files: tuple[HubFile, ...]
    license: str | None


class Hub:
    """The hub at `endpoint`, by default the one that huggingface_hub knows."""

    def __init__(self, *, endpoint: str | None = None) -> None:
        # Its warnings would stand between our lines; what fails is raised.
        logging.set_verbosity_error()
        self._api = huggingface_hub.HfApi(endpoint=endpoint)

    def repo(self, name: str, revision: str) -> Repo:
        """What a branch, tag or commit holds.

        Raises ModelNotFound, InvalidSource, Refused or Unreachable.
        """
        with _translated(f"{name}@{revision}"):
            info = self._api.model_info(name, revision=revision, files_metadata=True)
        if not info.sha:
            raise Unreachable(f"the hub does not say which commit {name}@{revision} is")
        files = tuple(
            HubFile(file.rfilename, file.size or 0, Digest(file.lfs.sha256) if file.lfs else None)
            for file in info.siblings or ()
            if _relative(file.rfilename)
        )
        return Repo(name, info.sha, files, _license(info.card_data))

    def download(self, repo: Repo, file: HubFile, folder: Path, progress: Progress) -> Path:
        """Bring a file into `folder`, under its own path; one that stands there already is taken if it is right."""

        def tell(done: int) -> None:
            progress("download", min(done, file.size), file.size)

        with _translated(f"{repo.id}/{file.path}@{repo.commit[:12]}", folder=folder):
            path = self._api.hf_hub_download(
                repo.id, file.path, revision=repo.commit, local_dir=folder, tqdm_class=_bar(tell)
            )
        return Path(path)


def _relative(path: str) -> bool:
    # It becomes a path on this machine.
    return path.isprintable() and not set(path.split("/")) & {"", ".", ".."} and "\\" not in path


def _bar(tell: Any) -> Any:
    class Bar(tqdm):  # type: ignore[misc]
        """Counts the bytes of one file, and draws nothing."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._told = int(options.get("initial") or 0)
            super().__init__(*arguments, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            self._told += int(n or 0)
            tell(self._told)

        def update_transfer(self, n: float) -> None:
            """What came over the wire, which is less when chunks are shared; the file's own bytes are told."""

    return Bar


def _license(card: Any) -> str | None:
    said = getattr(card, "license", None)
    if said == "other":
        said = getattr(card, "license_name", None) or said
    if isinstance(said, list):
        said = ", ".join(map(str, said))
    return said[:256] if isinstance(said, str) and said.isprintable() else None


@contextmanager
def _translated(what: str, *, folder: Path | None = None) -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        if folder and isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError):
            with disk_errors(folder):
                raise
        raise _translate(error, what) from error


def _translate(error: Exception, what: str) -> StoreError:
    cause = error.__cause__
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(cause, Exception):
        return _translate(cause, what)
    if isinstance(error, errors.HFValidationError):
        return InvalidSource(f"not a repository: {what}", hint="hf://org/repo[/file][@revision]")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return Unreachable(f"cannot ask the hub for {what}: HF_HUB_OFFLINE is set")
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is None:
        # A URL's query may be a signature.
        said = re.sub(r"\?\S*", "", next(iter(str(error).splitlines()), "")) or type(error).__name__
        return Unreachable(f"{what} did not come from the hub: {said}", hint="run it again")
    return _answered(error, status, what)


def _answered(error: Exception, status: int, what: str) -> StoreError:
    if isinstance(error, errors.GatedRepoError):
        return Refused(f"{what} is gated", hint=f"accept its terms on the hub, then {_TOKEN}")
    if status in (401, 403):
        return Refused(f"the hub refuses {what}: it is private, or not there", hint=_TOKEN)
    if isinstance(error, errors.RevisionNotFoundError):
        return ModelNotFound(f"the hub knows no such revision: {what}")
    if status == 404:
        return ModelNotFound(f"the hub knows no {what}")
    return Unreachable(f"the hub answered {status} for {what}", hint="try again later")
