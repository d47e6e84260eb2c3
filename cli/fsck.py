"""`llstore fsck`."""

import getpass
import os
import socket
from dataclasses import asdict
from typing import Annotated

import typer

from ..store.fsck.finding import Depth, Finding, Kind, Report
from ..store.sizes import human_size
from .failure import DAMAGED
from .options import JsonOption, OfflineOption, QuietOption, StoreOption
from .output import opened, print_json, printable, progress, remark


def fsck(
    full: Annotated[bool, typer.Option("--full", help="Read and hash everything.")] = False,
    sample: Annotated[str, typer.Option(metavar="N%", help="Check so many percent of each file's blocks.")] = "0%",
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended; what is damaged is kept.")] = False,
    bucket: Annotated[bool, typer.Option("--bucket", help="Check the store too.")] = False,
    set_aside: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="Move this unreadable object of the store's journal to quarantine/ first."),
    ] = None,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check that stored bytes are what their names say."""
    if set_aside and not bucket:
        raise typer.BadParameter("--set-aside is about the store: give --bucket too")
    depth = Depth(full=full, sample=_share(sample), repair=repair)
    with opened(store, offline=offline, quiet=quiet) as found, progress(quiet=quiet or json) as shown:
        for key in set_aside or ():
            moved = found.set_aside(key, by=_who())
            remark(f"{printable(key)} is now {printable(moved)}", quiet=quiet)
        report = found.fsck(depth, bucket=bucket, progress=shown)
    if json:
        print_json(_document(report))
    else:
        for finding in report.findings:
            print(_line(finding))
        remark(_summary(report, repair=repair), quiet=quiet)
    raise typer.Exit(0 if report.sound else DAMAGED)


def _who() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


def _share(text: str) -> float:
    number = text.removesuffix("%")
    if not number.replace(".", "", 1).isdigit() or not 0 <= float(number) <= 100:
        raise typer.BadParameter(f"--sample is a percentage from 0% to 100%, not {text!r}")
    return float(number) / 100


def _line(finding: Finding) -> str:
    state = "repaired" if finding.repaired else "harmless" if finding.harmless else "OPEN"
    return printable(f"{state:9} {finding.where:7} {finding.kind:12} {finding.subject}: {finding.detail}")


def _summary(report: Report, *, repair: bool) -> str:
    fetched = f", {human_size(report.bytes_fetched)} fetched" if report.bytes_fetched else ""
    state = _state(report, repair=repair)
    return f"{report.files} files checked, {human_size(report.bytes_read)} read{fetched}: {state}"


def _state(report: Report, *, repair: bool) -> str:
    if report.sound:
        mended = any(finding.repaired for finding in report.findings)
        return "what was wrong is mended" if mended else "nothing is wrong"
    if any(finding.kind is Kind.JOURNAL for finding in report.findings):
        return "the journal is not wholly known, and gc deletes nothing (--set-aside KEY moves an object away)"
    return "something is still wrong" if repair else "something is wrong (llstore fsck --repair mends what it can)"


def _document(report: Report) -> dict[str, object]:
    findings = [asdict(finding) | {"harmless": finding.harmless} for finding in report.findings]
    return {
        "sound": report.sound,
        "findings": findings,
        "files": report.files,
        "bytes_read": report.bytes_read,
        "bytes_fetched": report.bytes_fetched,
    }
