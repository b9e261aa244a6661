"""One key, as an application gets it.

Why plain bytes: an application hands the key to some other library, and all of those take bytes or
a buffer. ``bits`` is a ``bytearray``, which they take too, and which can be wiped, as ``bytes``
cannot. What Python and TLS copied on the way stays until it is overwritten by chance; whoever must
rule that out cannot use Python.
"""

import attrs
import msgspec

from kms.client.errors import BadAnswer
from kms.client.wiped import Bits


@attrs.define(eq=False, repr=False)
class Key(Bits):
    """The chunk of the stream at ``index``; the peer application gets the same bits there.

    ``with await stream.get() as key: ...`` wipes it at the end.
    """

    index: int
    bits: bytearray
    """the key; yours to wipe"""
    metadata: bytes = b""
    """UTF-8 JSON as the node sent it; empty if none was agreed"""

    def details(self) -> dict[str, object]:
        """The metadata's members: age in ms, hops. Raises ``BadAnswer`` if they do not read."""
        if not self.metadata:
            return {}
        try:
            return msgspec.json.decode(self.metadata, type=dict[str, object])
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise BadAnswer(f"metadata that does not read: {error}") from error

    def __repr__(self) -> str:
        return f"Key(index={self.index}, {len(self.bits)} B)"
