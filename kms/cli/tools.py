"""``kms device-twin``: a simulated device beside the node."""

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kms.cli.output import part


def device_twin(
    file: Annotated[Path | None, Parameter(name="TWIN.toml", help="its configuration")] = None,
    /,
    *,
    set: Annotated[tuple[str, ...], Parameter(help="field=value, over the file's")] = (),
) -> None:
    """Run one end of a simulated pair of QKD devices."""
    import trio

    config, device = part("kms.twin.config"), part("kms.twin.device")
    trio.run(partial(device.serve, config.load(file, set)))
