"""Keys with IDs, as an application gets them by ETSI GS QKD 014: some at once, all of one size."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, overload
from uuid import UUID

import attrs

from kms.client.wiped import Bits, Wiped

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@attrs.define(eq=False, repr=False)
class KeyWithID(Bits):
    """One key; whoever has the same ID gets the same bits, once."""

    key_id: UUID
    bits: bytearray
    """the key; yours to wipe"""
    extension: Mapping[str, Any] = NOTHING
    """``key_extension``, as the node's maker means it"""

    def __repr__(self) -> str:
        return f"KeyWithID({self.key_id}, {len(self.bits)} B)"


class Keys(Wiped, Sequence[KeyWithID]):
    """The keys of one answer. ``with await client.enc_keys(...) as keys: ...`` wipes all of them at
    the end."""

    def __init__(self, keys: Sequence[KeyWithID], extension: Mapping[str, Any] = NOTHING) -> None:
        self._keys = tuple(keys)
        self.extension = extension
        """``key_container_extension``, as the node's maker means it"""

    @property
    def key_ids(self) -> list[UUID]:
        """Tell them to the slave application; they are no secret."""
        return [key.key_id for key in self._keys]

    def wipe(self) -> None:
        """The bits of every key are zero."""
        for key in self._keys:
            key.wipe()

    @overload
    def __getitem__(self, position: int) -> KeyWithID: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[KeyWithID]: ...
    def __getitem__(self, position: int | slice) -> KeyWithID | Sequence[KeyWithID]:
        return self._keys[position]

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[KeyWithID]:
        return iter(self._keys)

    def __repr__(self) -> str:
        return f"Keys({len(self)})"


@attrs.frozen(kw_only=True)
class KeysStatus:
    """What a node says of the keys for a slave application (clause 6.1). Sizes in bits."""

    source_kme_id: str
    target_kme_id: str
    master_sae_id: str
    slave_sae_id: str
    key_size: int
    """of a key when none is asked for"""
    stored_key_count: int
    max_key_count: int
    max_key_per_request: int
    max_key_size: int
    min_key_size: int
    max_sae_id_count: int
    """additional slaves at most; 0: none"""
    extension: Mapping[str, Any] = NOTHING
    """``status_extension``"""
