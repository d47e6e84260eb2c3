"""The flags and arguments that several commands share."""

from typing import Annotated

import typer

RefArgument = Annotated[str, typer.Argument(metavar="REF", help="Digest, prefix, org/name[:tag] or name@sha256:…")]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store", metavar="URL", help="s3://…, seaweedfs://…, https://… or file:///path; the default is local."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Never touch the network.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no remarks.")]
ProfileOption = Annotated[
    list[str] | None,
    typer.Option("--profile", metavar="P", help="Only models of this profile and of none; may be repeated."),
]
