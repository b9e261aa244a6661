"""The two one-way pads of a link, named from the leader."""

from enum import Enum

from kms.domain.names import LinkId, NodeId, leader_of


class Direction(Enum):
    """Who writes the pad."""

    FROM_LEADER = "from-leader"
    TO_LEADER = "to-leader"

    @property
    def other(self) -> "Direction":
        return Direction.TO_LEADER if self is Direction.FROM_LEADER else Direction.FROM_LEADER


def written_by(node: NodeId, link: LinkId) -> Direction:
    """The direction that ``node`` alone allocates from."""
    return Direction.FROM_LEADER if leader_of(link) == node else Direction.TO_LEADER
