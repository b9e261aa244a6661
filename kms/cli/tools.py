"""Commands beside the node: a simulated device, the measurements."""

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kms.cli.output import part

Rest = Annotated[str, Parameter(show=False, allow_leading_hyphen=True)]


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


def bench(*arguments: Rest) -> int:
    """Measure what this machine delivers."""
    return part("kms.bench").main(list(arguments)) or 0
