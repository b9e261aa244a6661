"""``kms bench``."""

from typing import Annotated

from cyclopts import Parameter

from kms.cli.output import JSON


def bench(
    *,
    quick: Annotated[bool, Parameter(negative="", help="less of everything: under a minute")] = (
        False
    ),
    only: Annotated[
        tuple[str, ...], Parameter(help="agreed, tunnel, creation, delivery or steps")
    ] = (),
    json: JSON = False,
) -> int:
    """Measure what this machine delivers, against floors of the same run."""
    from kms.bench.main import run

    return run(quick=quick, as_json=json, only=only)
