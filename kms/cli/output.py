"""What commands share: JSON or a sentence on stdout, and the admin socket of a node."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter

from kms.domain.errors import LocalFault

if TYPE_CHECKING:
    from kms.adapters.operations.admin_client import AdminClient

JSON = Annotated[bool, Parameter(name="--json", negative="", help="one JSON object on stdout")]
NodeFile = Annotated[Path, Parameter(name="NODE.toml", help="the node's configuration")]


def report(fields: object, sentence: str, *, as_json: bool) -> None:
    """One of the two is on stdout."""
    print(msgspec.json.encode(fields).decode() if as_json else sentence)


def client(node: Path) -> "AdminClient":
    """The operator counter of the node that this file configures."""
    from kms import config
    from kms.adapters.operations.admin_client import AdminClient

    return AdminClient(config.load(node).admin_socket)


def part(name: str) -> Any:
    """The module of this name, imported only now. Raises ``LocalFault`` if it is not there."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise LocalFault(f"{name} is not installed", hint="install the complete package") from None
