"""``python -m kms.twin [TWIN.toml] [--set NAME=VALUE ...]``: one device end as a process.

Prints one JSON line with its address once it listens. SIGTERM and SIGINT stop it with status 0.
"""

import json
import signal
import sys
from pathlib import Path
from typing import Annotated

import attrs
import cyclopts
import trio

from kms.domain.errors import LocalFault
from kms.twin.config import TwinConfig, load
from kms.twin.device import serve

app = cyclopts.App(
    name="kms.twin", help="One end of a simulated QKD device pair.", version_flags=()
)


@app.default
def main(
    path: Path | None = None,
    /,
    *,
    settings: Annotated[tuple[str, ...], cyclopts.Parameter(name="--set", negative=())] = (),
) -> int:
    """Runs one device end until SIGTERM.

    Parameters
    ----------
    path
        The configuration as TOML.
    settings
        One value over the file's: rate_bps=1000, knobs.lost=0.1. May be given many times.
    """
    try:
        config = load(path, settings)
        trio.run(run, config)
    except LocalFault as fault:
        print(f"error: {fault.reason}\nhint: {fault.hint}", file=sys.stderr)
        return 1
    return 0


async def run(config: TwinConfig) -> None:
    """Serves until SIGTERM or SIGINT."""
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            try:
                address = await nursery.start(serve, config)
            except OSError as error:
                raise LocalFault(
                    f"cannot listen at {config.host} port {config.port}: {error}",
                    hint="give a free port",
                ) from None
            print(json.dumps(attrs.asdict(address)), flush=True)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break


if __name__ == "__main__":
    sys.exit(app())
