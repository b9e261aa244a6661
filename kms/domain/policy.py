"""Which application may open, join and read which stream, from where, how fast. Default deny (I3).

Rules: the first rule that matches decides, in the order of the file, so an exception stands before
what it is an exception from; what none matches is refused. A stream is opened at one node and
joined at the other. The node where it is opened holds it to the rate (``caps``); both check all
else, the same at a reload.
"""

from collections import OrderedDict
from enum import Enum
from fnmatch import fnmatchcase

import attrs

from kms.domain import limits
from kms.domain.names import NodeId, SAEId


class Share(Enum):
    """Which streams have ``Rule.max_bps`` together."""

    PAIR = "pair"
    """all of the same two applications"""
    RULE = "rule"
    """all that the rule allows"""
    STREAM = "stream"
    """each has it for itself"""


@attrs.frozen(kw_only=True)
class Rule:
    """Applications that match ``one`` and ``other`` may share streams, whichever opens.

    Patterns are shell patterns over the whole name (``sae:*.clinic-a``), case-sensitive.
    """

    one: str
    other: str
    at: NodeId | None = None
    """streams are opened at this node only; the other end joins. None: at either"""
    max_bps: int | None = None
    """bit/s of the streams opened at one node, as ``per`` says; None: no bound"""
    per: Share = Share.PAIR

    def matches(self, caller: SAEId, peer: SAEId) -> bool:
        """Whether these two are meant, either way round."""
        return (fnmatchcase(caller, self.one) and fnmatchcase(peer, self.other)) or (
            fnmatchcase(caller, self.other) and fnmatchcase(peer, self.one)
        )


@attrs.frozen(kw_only=True)
class Policy:
    """All rules; what none allows is refused."""

    rules: tuple[Rule, ...] = ()
    revoked: frozenset[str] = frozenset()
    """SHA-256 fingerprints of certificates refused at the next request, lower-case hex"""
    _found: OrderedDict[tuple[SAEId, SAEId, NodeId], Rule | None] = attrs.field(
        factory=OrderedDict, init=False, eq=False, repr=False
    )
    """what ``rule_for`` said lately, the latest last: rules never change, a reload brings others"""

    def may_share(self, caller: SAEId, peer: SAEId) -> bool:
        """Whether ``caller`` may join a stream with ``peer`` that there is."""
        return any(rule.matches(caller, peer) for rule in self.rules)

    def rule_for(self, opener: SAEId, peer: SAEId, at: NodeId) -> Rule | None:
        """The rule by which ``opener``, who lives at the node ``at``, may open a stream with
        ``peer``; None: it may not."""
        asked = (opener, peer, at)
        if asked in self._found:
            self._found.move_to_end(asked)
            return self._found[asked]
        allow = (each for each in self.rules if each.at in (None, at))
        rule = next((each for each in allow if each.matches(opener, peer)), None)
        self._found[asked] = rule
        if len(self._found) > limits.RULES_FOUND_MAX:
            self._found.popitem(last=False)
        return rule
