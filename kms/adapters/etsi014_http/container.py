"""The Key container (ETSI GS QKD 014 V1.1.1 clause 6.3) as bytes, written in one go.

All keys of one answer have one size, so each of them is a row of one width: the table is filled
column by column, and no key is ever an object of its own. What is read and written here is wiped,
but for the bytes that are returned (docs/limits-of-python.md).
"""

from base64 import b64encode

import numpy as np

from kms.domain.secret import Secret

_ID_BYTES = 16
_ID_CHARACTERS = 36
_HYPHENS = (8, 13, 18, 23)
_DIGITS = np.array([at for at in range(_ID_CHARACTERS) if at not in _HYPHENS])
_BEGIN, _END = b'{"keys":[', b"]}"
_BEFORE_ID, _BEFORE_KEY, _AFTER_KEY = b'{"key_ID":"', b'","key":"', b'"},'


def container(key_ids: bytes, keys: Secret) -> bytes:
    """``key_ids`` are 16 octets each, ``keys`` as many of one size. The keys are wiped."""
    try:
        number, rest = divmod(len(key_ids), _ID_BYTES)
        assert rest == 0 and number > 0, "whole IDs"
        size, rest = divmod(len(keys), number)
        assert rest == 0 and size > 0, "a key to each ID, all of one size"
        if number == 1:
            # Most requests: a table of one row costs ten times as much.
            digits = key_ids.hex()
            groups = digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]
            parts = (_BEGIN, _BEFORE_ID, "-".join(groups).encode("ascii"), _BEFORE_KEY)
            return b"".join((*parts, b64encode(keys.expose()), _AFTER_KEY[:-1], _END))
        texts = _base64(np.frombuffer(keys.expose(), np.uint8).reshape(number, size))
    finally:
        keys.wipe()
    rows = _rows(_uuids(key_ids), texts)
    texts.fill(0)
    try:
        # Without the last comma.
        return b"".join((_BEGIN, rows.data.cast("B")[:-1], _END))
    finally:
        rows.fill(0)


def _rows(ids: "np.ndarray[tuple[int, int], np.dtype[np.uint8]]", texts: "_Table") -> "_Table":
    """One object a row, each with a comma behind it."""
    parts: list[bytes | _Table] = [_BEFORE_ID, ids, _BEFORE_KEY, texts, _AFTER_KEY]
    widths = [len(part) if isinstance(part, bytes) else part.shape[1] for part in parts]
    rows = np.empty((len(ids), sum(widths)), np.uint8)
    at = 0
    for part, width in zip(parts, widths, strict=True):
        filler = np.frombuffer(part, np.uint8) if isinstance(part, bytes) else part
        rows[:, at : at + width] = filler
        at += width
    return rows


def _uuids(key_ids: bytes) -> "_Table":
    """The canonical text of each (RFC 4122: lower case, with hyphens)."""
    digits = np.frombuffer(key_ids.hex().encode("ascii"), np.uint8).reshape(-1, 2 * _ID_BYTES)
    table = np.full((len(digits), _ID_CHARACTERS), ord("-"), np.uint8)
    table[:, _DIGITS] = digits
    return table


def _base64(keys: "_Table") -> "_Table":
    """Each in base64 of its own (RFC 4648), padded with ``=``."""
    number, size = keys.shape
    lacking = -size % 3
    whole = np.zeros((number, size + lacking), np.uint8)
    whole[:, :size] = keys
    # Zeros that fill the last three octets give the characters that "=" stands for, and no others.
    texts = np.frombuffer(bytearray(b64encode(whole.data)), np.uint8).reshape(number, -1)
    whole.fill(0)
    if lacking:
        texts[:, -lacking:] = ord("=")
    return texts


_Table = np.ndarray[tuple[int, int], np.dtype[np.uint8]]
