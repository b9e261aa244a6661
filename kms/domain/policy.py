"""Which application may open, join and read which stream. Default deny (I3)."""

from fnmatch import fnmatchcase

import attrs

from kms.domain.names import SAEId


@attrs.frozen(kw_only=True)
class Rule:
    """Applications that match ``one`` and ``other`` may share streams, whichever opens.

    Patterns are shell patterns over the whole URI (``sae:*.clinic-a``), case-sensitive.
    """

    one: str
    other: str


@attrs.frozen(kw_only=True)
class Policy:
    """All rules; what none allows is refused."""

    rules: tuple[Rule, ...] = ()
    revoked: frozenset[str] = frozenset()
    """SHA-256 fingerprints of certificates refused at the next request, lower-case hex"""

    def may_share(self, caller: SAEId, peer: SAEId) -> bool:
        """Whether ``caller`` may open or join a stream with ``peer``."""
        return any(
            (fnmatchcase(caller, rule.one) and fnmatchcase(peer, rule.other))
            or (fnmatchcase(caller, rule.other) and fnmatchcase(peer, rule.one))
            for rule in self.rules
        )
