"""Get status, Get key and Get key with key IDs of ETSI GS QKD 014 V1.1.1, as pure functions.

Rules: what a node answers is checked before it is believed: as many keys as were asked for, each
with an ID of its own and of the size asked for; with key IDs, those asked for and no others. A
wrong key is worse than none. Members we do not know are passed over.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, NoReturn
from urllib.parse import quote
from uuid import UUID

import msgspec
from msgspec import Meta, Struct, field

from kms.client.answers import read_json
from kms.client.errors import BadAnswer, KeyNotFound, Malformed, Refused
from kms.client.exchange import Answer, Call
from kms.client.keys import NOTHING, Keys, KeysStatus, KeyWithID
from kms.client.outcome import patience_s
from kms.domain.secret import zero

PATH: Final = "/api/v1/keys"
# Clause 6.4, word for word: how a node says that a key is not there.
_NOT_FOUND: Final = "one or more keys specified are not found on KME"
# No count or size of a key manager is near this; a larger one does not fit where others compute.
_Count = Annotated[int, Meta(ge=0, lt=2**53)]
_Extensions = Iterable[Mapping[str, Any]]


class _Status(Struct):
    source_KME_ID: str
    target_KME_ID: str
    master_SAE_ID: str
    slave_SAE_ID: str
    key_size: _Count
    stored_key_count: _Count
    max_key_count: _Count
    max_key_per_request: _Count
    max_key_size: _Count
    min_key_size: _Count
    max_SAE_ID_count: _Count
    status_extension: dict[str, Any] | None = None


class _Key(Struct):
    key_ID: UUID
    key: bytearray
    """base64 (RFC 4648); strictly, and never text that cannot be wiped"""
    key_extension: dict[str, Any] | None = None


class _Container(Struct):
    keys: list[_Key]
    extension: dict[str, Any] | None = field(name="key_container_extension", default=None)


def status(slave: str) -> Call[Answer, KeysStatus]:
    def read(answer: Answer) -> KeysStatus:
        told = _read(answer, _Status)
        return KeysStatus(
            source_kme_id=told.source_KME_ID,
            target_kme_id=told.target_KME_ID,
            master_sae_id=told.master_SAE_ID,
            slave_sae_id=told.slave_SAE_ID,
            key_size=told.key_size,
            stored_key_count=told.stored_key_count,
            max_key_count=told.max_key_count,
            max_key_per_request=told.max_key_per_request,
            max_key_size=told.max_key_size,
            min_key_size=told.min_key_size,
            max_sae_id_count=told.max_SAE_ID_count,
            extension=told.status_extension or NOTHING,
        )

    return Call(
        function="status",
        method="GET",
        path=_path(slave, "slave", "status"),
        body=b"",
        patience_s=patience_s(0),
        read=read,
    )


def enc_keys(
    slave: str,
    number: int,
    size: int | None,
    additional_slaves: Sequence[str],
    mandatory: _Extensions,
    optional: _Extensions,
) -> Call[Answer, Keys]:
    """``size`` in bits."""
    if number < 1:
        raise Malformed("must be at least 1", "number")
    asked: dict[str, object] = {"number": number}
    if size is not None:
        asked["size"] = size
    for member, given in (
        ("additional_slave_SAE_IDs", list(additional_slaves)),
        ("extension_mandatory", [dict(each) for each in mandatory]),
        ("extension_optional", [dict(each) for each in optional]),
    ):
        if given:
            asked[member] = given

    def read(answer: Answer) -> Keys:
        told = _read(answer, _Container)
        if len(told.keys) != number:
            _drop(told, f"asked for {number} keys, got {len(told.keys)}")
        if len({key.key_ID for key in told.keys}) != number:
            _drop(told, "two keys under one key ID")
        lengths = {len(key.key) for key in told.keys}
        if len(lengths) > 1:
            _drop(told, "keys that are not all of one size")
        if size is not None and lengths != {(size + 7) // 8}:
            _drop(told, f"keys of {8 * len(told.keys[0].key)} bits, asked were {size}")
        return _keys(told, told.keys)

    return _post("enc_keys", _path(slave, "slave", "enc_keys"), asked, read)


def dec_keys(master: str, key_ids: Sequence[UUID]) -> Call[Answer, Keys]:
    ids = tuple(key_ids)
    if not ids or len(set(ids)) != len(ids):
        raise Malformed("must be different, and at least one", "key_IDs")

    def read(answer: Answer) -> Keys:
        told = _read(answer, _Container)
        # Clause 6.3 does not say that the order is ours.
        found = {key.key_ID: key for key in told.keys}
        if len(told.keys) != len(ids) or set(ids) != found.keys():
            _drop(told, "other keys than those asked for")
        return _keys(told, [found[key_id] for key_id in ids])

    asked: dict[str, object] = {"key_IDs": [{"key_ID": str(key_id)} for key_id in ids]}
    return _post("dec_keys", _path(master, "master", "dec_keys"), asked, read)


def _post(function: str, path: str, asked: dict[str, object], read: Any) -> Call[Answer, Keys]:
    try:
        body = msgspec.json.encode(asked)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Malformed(f"does not become JSON: {error}") from None
    return Call(function=function, path=path, body=body, patience_s=patience_s(0), read=read)


def _path(sae_id: str, role: str, method: str) -> str:
    if not sae_id:
        raise Malformed("must not be empty", f"{role}_SAE_ID")
    return f"{PATH}/{quote(sae_id, safe='')}/{method}"


def _read(answer: Answer, shape: Any) -> Any:
    """The body as ``shape``, and no copy of it is left."""
    try:
        return read_json(answer, shape)
    except Malformed as error:
        if _NOT_FOUND in error.message:
            raise KeyNotFound(error.message) from None
        raise
    except Refused as error:
        # Clause 6.4: a 401 has no body.
        words = error.message.removeprefix("HTTP 401")
        raise Refused(words or "the key is not for us, or policy or certificate refuse") from None
    finally:
        answer.wipe()


def _keys(told: _Container, keys: Sequence[_Key]) -> Keys:
    if not all(key.key for key in keys):
        _drop(told, "a key of no bits")
    return Keys(
        [
            KeyWithID(key_id=key.key_ID, bits=key.key, extension=key.key_extension or NOTHING)
            for key in keys
        ],
        told.extension or NOTHING,
    )


def _drop(told: _Container, reason: str) -> NoReturn:
    for key in told.keys:
        zero(key.key)
    raise BadAnswer(reason)
