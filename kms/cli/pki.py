"""Commands for certificates, for development and small networks."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kms.cli.output import JSON, report

Directory = Annotated[Path, Parameter(name="DIRECTORY", help="where the authority's files are")]


def ca(directory: Directory, /, *, json: JSON = False) -> None:
    """Make a certificate authority; one that is there is never overwritten."""
    from kms.adapters.pki import create_ca

    certificate = create_ca(directory)
    report({"ca": str(certificate)}, f"authority: {certificate}", as_json=json)


def issue(
    directory: Directory,
    uri: Annotated[str, Parameter(name="URI", help="kms:NODE or sae:APPLICATION")],
    /,
    *,
    host: Annotated[tuple[str, ...], Parameter(help="DNS name or IP address, repeatable")] = (),
    days: Annotated[float | None, Parameter(help="how long it is valid")] = None,
    json: JSON = False,
) -> None:
    """Issue a certificate for a node or an application."""
    from kms.adapters import pki

    made = pki.issue(directory, uri, host, days=pki.CERTIFICATE_DAYS if days is None else days)
    fields = {"certificate": str(made.certificate), "key": str(made.key), "ca": str(made.ca)}
    report(fields, "\n".join(f"{word} = {path}" for word, path in fields.items()), as_json=json)
