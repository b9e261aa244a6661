"""How long a node remembers what it does not need to serve keys: chosen by its operator."""

import attrs

from kms.domain import limits


@attrs.frozen(kw_only=True)
class Retention:
    """Never less than what safety needs: ``limits`` has the least."""

    tombstone_ms: int = limits.TOMBSTONE_MS
    """a closed stream's Key_stream_ID is refused for this long"""


KEEP = Retention()
"""unless the operator says otherwise"""
