"""``kms sim``: whole networks on a virtual clock."""

from typing import Annotated

from cyclopts import Parameter

from kms.cli.output import JSON


def sim(
    *,
    seed: Annotated[int, Parameter(help="the first history")] = 1,
    seeds: Annotated[int, Parameter(help="how many, one after the other")] = 1,
    hours: Annotated[float, Parameter(help="simulated hours of each; in quarters")] = 1.0,
    topology: Annotated[
        str, Parameter(help="a network file, or the name of one of ours: two-nodes, nec-five-node")
    ] = "two-nodes",
    jobs: Annotated[int, Parameter(help="processors; 0 for all")] = 0,
    least: Annotated[
        int, Parameter(help="fail when a kind of fault happened less often than this")
    ] = 0,
    shorten: Annotated[
        bool, Parameter(negative="", help="print the fewest faults that break it, as a test")
    ] = False,
    json: JSON = False,
) -> int:
    """Play seeded histories with faults, and check every invariant at every step."""
    from kms.simulation.campaign import Campaign
    from kms.simulation.main import simulate
    from kms.simulation.topology import named

    campaign = Campaign(
        topology=named(topology), first_seed=seed, seeds=seeds, hours_each=hours, least=least
    )
    return simulate(campaign, jobs=jobs, shorten=shorten, as_json=json)
