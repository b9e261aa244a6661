"""``kms restore``: the operator's word to a node that stands because its store is an old copy.

Rules: what was found and what it costs is shown first; nothing is changed without ``--yes``.
"""

from datetime import UTC, datetime
from typing import Annotated

import attrs
from cyclopts import Parameter

from kms.adapters.operations.status_json import decode
from kms.cli.output import JSON, NodeFile, client, report
from kms.domain.errors import LocalFault
from kms.domain.records import Way
from kms.domain.statistics import NodeStatus, StandingStatus


def restore(
    node: NodeFile,
    /,
    *,
    yes: Annotated[bool, Parameter(negative="", help="do it; without it, only show")] = False,
    ask_peers: Annotated[
        bool,
        Parameter(negative="", help="this node was put back alone: its neighbours know the rest"),
    ] = False,
    json: JSON = False,
) -> None:
    """Go on with a store that was put back to an old copy: burn what it holds (docs/operations.md).

    Shows first what was found, and changes nothing without --yes.
    """
    counter = client(node)
    status = decode(counter.get("/status"))
    found = status.standing
    if found is None:
        raise LocalFault(
            f"{status.node} is {status.state.value}, and does not stand",
            hint="kms restore is for a node whose store is an old copy",
        )
    way = Way.ASK_PEERS if ask_peers else Way.BURN
    state = status.state.value
    if yes:
        state = str(counter.post("/restore", way.value.encode())["state"])
    fields = {"node": status.node, "way": way.value, "restored": yes, "state": state}
    sentence = "\n".join((*_found(status, found), *_cost(found, way), _next(way, yes)))
    report({**fields, "found": attrs.asdict(found)}, sentence, as_json=json)


def _found(status: NodeStatus, found: StandingStatus) -> list[str]:
    lines = [f"{status.node} stands: {found.reason}"]
    lines.append(f"  store: generation {found.generation}, written {_when(found.written_ms)}")
    if found.witnessed_generation is not None:
        when = _when(found.witnessed_ms or 0)
        lines.append(f"  witness: generation {found.witnessed_generation}, written {when}")
    return lines


def _cost(found: StandingStatus, way: Way) -> list[str]:
    if way is Way.ASK_PEERS:
        return ["  burnt: what each neighbour says may have been used"]
    return [
        f"  burnt: {each.pad_bytes} bytes of pad of {each.link}, {each.held_blocks} blocks;"
        f" {each.streams} streams closed"
        for each in found.links
    ]


def _next(way: Way, done: bool) -> str:
    if not done:
        return "nothing is changed yet: give --yes to do it"
    if way is Way.ASK_PEERS:
        return "done: the links go on with the next session"
    return "done: each link now needs a new secret (kms link-secret, kms link restart at both ends)"


def _when(wall_ms: int) -> str:
    if not wall_ms:
        return "never"
    return datetime.fromtimestamp(wall_ms / 1000, UTC).isoformat(sep=" ", timespec="seconds")
