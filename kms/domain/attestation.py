"""What a witness outside the store says of it: how far the store had come (docs/storage.md)."""

import attrs

from kms.domain.names import NodeId


@attrs.frozen(kw_only=True)
class Attestation:
    """The highest generation of a store that any output ever followed from. No secret."""

    node: NodeId
    store: str
    """random name of the store, made at its first start"""
    generation: int
    wall_ms: int
    """when, for a person"""
