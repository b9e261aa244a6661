"""Copies of a node at a fraction of what ``copy.deepcopy`` costs: frozen once, thawed as needed.

A fuzzer's inputs must not know of each other, or what it finds could not be found again: each gets
a node of its own, and that was most of what an input cost.
"""

import io
import pickle
from typing import Any
from unittest.mock import patch

from kms.domain.names import NodeId
from kms.domain.node import Node
from kms.domain.secret import Secret
from tests import siege
from tests.world import ALICE, World

_frozen: dict[int, tuple[Node, bytes]] = {}
"""by the node's id; the node is kept, so that no other gets it"""


class _Freezer(pickle.Pickler):
    """Secrets refuse to be pickled, and rightly: these are a test's, and stay in this process."""

    def reducer_override(self, value: object) -> Any:
        if isinstance(value, Secret):
            return Secret, (bytes(value.expose()),)
        return NotImplemented


def thawed(node: Node) -> Node:
    """The state that ``node`` had when it was first asked for, nothing shared that can change."""
    if id(node) not in _frozen:
        buffer = io.BytesIO()
        _Freezer(buffer, pickle.HIGHEST_PROTOCOL).dump(node)
        _frozen[id(node)] = node, buffer.getvalue()
    copy: Node = pickle.loads(_frozen[id(node)][1])  # noqa: S301 - made here, a moment ago
    return copy


class Besieged(siege.Siege):
    """``Siege`` of a played world, quickly made. That world never changes."""

    def __init__(self, victim: NodeId = ALICE, world: World | None = None) -> None:
        with patch.object(siege, "copy_of", thawed):
            super().__init__(victim, world)
