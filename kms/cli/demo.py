"""``kms demo``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kms.cli.output import JSON
from kms.domain.errors import LocalFault
from kms.domain.limits import CHUNK_BYTES_MAX, KIB


def demo(
    *,
    keys: Annotated[int, Parameter(help="how many each application fetches")] = 200,
    chunk: Annotated[int, Parameter(help="bytes of each key")] = 32,
    rate: Annotated[int, Parameter(help="bit/s that the devices make; 0: unlimited")] = 1_000_000,
    block: Annotated[int, Parameter(help="bytes of each device block")] = 64 * KIB,
    dir: Annotated[Path | None, Parameter(help="keep everything in this new directory")] = None,
    keep: Annotated[bool, Parameter(help="leave the network up until interrupted")] = False,
    json: JSON = False,
) -> int:
    """Start two nodes with simulated devices on this machine and deliver keys."""
    from kms.demo.main import Wishes, run

    if not (keys >= 1 and 1 <= chunk <= CHUNK_BYTES_MAX and rate >= 0 and block >= KIB):
        raise LocalFault(
            "these sizes cannot be demonstrated",
            hint=f"at least one key of 1 to {CHUNK_BYTES_MAX} bytes, blocks of {KIB} or more",
        )
    return run(
        Wishes(
            keys=keys,
            chunk_bytes=chunk,
            rate_bps=rate,
            block_bytes=block,
            directory=dir,
            keep=keep,
            as_json=json,
        )
    )
