"""Commands for links: the secret that starts one, and handing it to a running node."""

from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from kms import link_secret as secrets
from kms.cli.output import JSON, NodeFile, client, report
from kms.config import load
from kms.domain.names import link_id, node_id


def link_secret(
    one: Annotated[str, Parameter(name="A", help="one node's name")],
    other: Annotated[str, Parameter(name="B", help="the other's")],
    /,
    *,
    directory: Annotated[Path, Parameter(help="where both files are written")] = Path(),
    json: JSON = False,
) -> None:
    """Make the secret of a link: one file for each site, to be carried there by hand."""
    from kms.adapters.entropy import OSEntropy

    made = secrets.make(node_id(one), node_id(other), OSEntropy())
    try:
        paths = secrets.write(made, directory)
    finally:
        made.bits.wipe()
    files = dict(zip(made.nodes, map(str, paths), strict=True))
    sentence = "\n".join(f"for {node}: {path}" for node, path in files.items())
    report({"secret_id": made.secret_id, "files": files}, sentence, as_json=json)


def add(
    node: NodeFile,
    peer: Annotated[str, Parameter(name="PEER", help="the neighbour's name")],
    /,
    *,
    address: Annotated[str | None, Parameter(help="host:port where it listens")] = None,
    secret: Annotated[Path | None, Parameter(help="the link's secret for this site")] = None,
    json: JSON = False,
) -> None:
    """Add a neighbour to the running node; edit NODE.toml too, so that it stays."""
    link = link_id(load(node).node.name, node_id(peer))
    fields: dict[str, object] = {"peer": peer, "address": address}
    if secret is not None:
        fields["secret"] = msgspec.Raw(_contents(node, secret))
    answer = client(node).post("/link/add", msgspec.json.encode(fields))
    done = "added and bootstrapped" if answer["bootstrapped"] else "added; it waits for a secret"
    report(answer, f"link {link} is {done}", as_json=json)


def restart(
    node: NodeFile,
    secret: Annotated[Path, Parameter(name="SECRET", help="the link's secret for this site")],
    /,
    *,
    json: JSON = False,
) -> None:
    """Open a new epoch of a drained or doubted link from a second secret."""
    answer = client(node).post("/link/restart", _contents(node, secret))
    report(answer, f"link {answer['link']} starts a new epoch here", as_json=json)


def _contents(node: Path, secret: Path) -> bytes:
    """The secret's file, checked here, so that a wrong one is named by its path."""
    read = secrets.read_link_secret(secret, load(node).node.name)
    try:
        return secrets.encode(read)
    finally:
        read.bits.wipe()
