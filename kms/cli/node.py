"""Commands for one node: run it, check its files, ask it, command it."""

import gc
import sys
from getpass import getpass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kms.cli.output import JSON, NodeFile, client, part, report
from kms.domain import limits
from kms.domain.errors import LocalFault


def run(node: NodeFile, /) -> int:
    """Run the node until SIGTERM or ``kms stop``."""
    # What imports make stays: looking through it for garbage meanwhile is a fifth of the start.
    gc.disable()
    try:
        begun = part("kms.wiring.beginning").begin(node)
        app = part("kms.app")
    finally:
        gc.enable()
    return app.run(begun) or 0


def check(node: NodeFile, /, *, json: JSON = False) -> None:
    """Check the node's configuration and network file, and change nothing."""
    from kms import config
    from kms.adapters.sdn_file import load_network

    read = config.load(node)
    network = load_network(read.network.file)
    config.check_network(read, network, node)
    fields = {
        "node": read.node.name,
        "links": [read.link_of(link.peer) for link in read.link],
        "devices": [device.name for device in read.device],
        "applications": len(network.directory),
    }
    sentence = f"{node} is sound: node {read.node.name}, {len(read.link)} links"
    report(fields, f"{sentence}, {len(read.device)} devices", as_json=json)


def status(node: NodeFile, /, *, json: JSON = False) -> None:
    """Show links, devices, streams and alarms of the running node."""
    data = client(node).get("/status")
    if json:
        print(data.decode())
        return
    from rich.console import Console

    from kms.adapters.operations.status_json import decode
    from kms.status_view import view

    # A pipe has no width of its own: at 80 columns every row would fold.
    console = Console(width=None if sys.stdout.isatty() else 240)
    console.print(view(decode(data)))


def unseal(
    node: NodeFile,
    /,
    *,
    passphrase_file: Annotated[Path | None, Parameter(help="instead of asking")] = None,
    json: JSON = False,
) -> None:
    """Open the node's store with its passphrase."""
    counter = client(node)
    passphrase = bytearray(_passphrase(passphrase_file))
    try:
        answer = counter.post("/unseal", passphrase)
    finally:
        passphrase[:] = bytes(len(passphrase))
    report(answer, f"the node is {answer['state']}", as_json=json)


def rekey(node: NodeFile, /, *, json: JSON = False) -> None:
    """Seal everything under a new epoch key and destroy the old one."""
    answer = client(node).post("/rekey")
    report(answer, f"epoch {answer['epoch']} seals the store", as_json=json)


def reload(node: NodeFile, /, *, json: JSON = False) -> None:
    """Take the network file and the certificates as they are on disk now."""
    answer = client(node).post("/reload")
    report(answer, "\n".join(answer["changed"]) or "nothing changed", as_json=json)


def stop(node: NodeFile, /, *, json: JSON = False) -> None:
    """Stop the node in order."""
    answer = client(node).post("/stop")
    report(answer, "the node is stopping", as_json=json)


def _passphrase(path: Path | None) -> bytes:
    from kms.config import others_read

    if path is not None:
        try:
            reason = others_read(path)
            data = path.read_bytes()[: limits.PASSPHRASE_BYTES_MAX + 2]
        except OSError as error:
            raise LocalFault(f"{path}: {error.strerror}", hint="give a readable file") from None
        if reason:
            raise LocalFault(reason, hint="others may have read it: change the passphrase")
        return data.rstrip(b"\r\n")
    if sys.stdin.isatty():
        return getpass("passphrase: ").encode()
    return sys.stdin.buffer.readline(limits.PASSPHRASE_BYTES_MAX + 2).rstrip(b"\r\n")
