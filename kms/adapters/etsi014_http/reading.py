"""A body or a query becomes a request, or ``BadRequest`` says what is wrong with it.

ETSI GS QKD 014 V1.1.1 clauses 6.2 (Key request) and 6.4 (Key IDs). An optional member that is null
counts as absent. Both forms of a method, GET and POST, become the same members and are read alike.
"""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

from kms.adapters.etsi004_http.strict import Malformed, Members, shown
from kms.domain.errors import BadName
from kms.domain.keyrequests import DecKeys, EncKeys, PairStatus
from kms.domain.limits import (
    ADDITIONAL_SLAVES_MAX,
    KEY_BYTES_DEFAULT,
    KEY_BYTES_MAX,
    KEY_BYTES_MIN,
    KEYS_PER_REQUEST_MAX,
)
from kms.domain.names import SAEId, sae_id

# Clause 6.5 and 5.2: words that clients may look for.
SIZE_MULTIPLE = "size shall be a multiple of 8"
UNSUPPORTED = "not all extension_mandatory parameters are supported"
UNMET = "not all extension_mandatory request options could be met"

_LINK_TYPE = "kms_link_type"
_SERVED: Mapping[str, object] = {_LINK_TYPE: "PHYS"}
"""extensions of ours: what feeds the links that the keys come from, in the words of ETSI GS QKD
015; and the only value that is met"""
_UNMET = {
    "oqkd_key_type": "oblivious keys are not served here",
    _LINK_TYPE: "all keys come from links that devices feed: it is PHYS",
}
"""extensions whose meaning is known, and why they are not met"""
# What an answer says of extensions that are not supported.
_DETAILS_MAX = 16
_QUERY_FIELDS_MAX = 8
_DIGITS_MAX = 10
_UUID = re.compile("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# What is longer is not shown to the pattern.
_KEY_ID_CHARACTERS_MAX = 64


class BadRequest(Exception):
    """HTTP 400, with the Error's two members (clause 6.5)."""

    def __init__(self, message: str, details: Sequence[Mapping[str, object]] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


def pair_status(caller: SAEId, slave: str) -> PairStatus:
    """Get status (clause 5.1)."""
    return PairStatus(slave=_other(caller, slave, "slave_SAE_ID"))


def enc_keys(caller: SAEId, slave: str, asked: Members) -> EncKeys:
    """Get key (clause 5.2)."""
    first = _other(caller, slave, "slave_SAE_ID")
    number = asked.uint32("number")
    size = asked.uint32("size")
    additional = _additional(caller, first, asked)
    _symmetric(asked)
    _extensions(asked)
    asked.done()
    return EncKeys(
        slave=first,
        number=_number(number),
        key_bytes=_key_bytes(size),
        additional_slaves=additional,
    )


def dec_keys(caller: SAEId, master: str, asked: Members) -> DecKeys:
    """Get key with key IDs (clause 5.3)."""
    other = _other(caller, master, "master_SAE_ID")
    listed = _list(asked, "key_IDs")
    # Nothing in it is mandatory: what is not known is not looked at.
    _object(asked, "key_IDs_extension")
    asked.done()
    if not listed:
        raise Malformed("key_IDs", "names no key")
    if len(listed) > KEYS_PER_REQUEST_MAX:
        raise Malformed("key_IDs", f"names more than {KEYS_PER_REQUEST_MAX} keys")
    return DecKeys(master=other, key_ids=_block(listed))


def enc_query(query: str) -> Members:
    """``?number=3&size=1024``: the members of the Key request that they stand for."""
    fields = _query(query, ("number", "size", "key_type"))
    return Members({name: _whole(name, text) for name, text in fields.items()})


def dec_query(query: str) -> Members:
    """``?key_ID=UUID``: the members of the Key IDs request that it stands for."""
    fields = _query(query, ("key_ID",))
    return Members({"key_IDs": [{"key_ID": text} for text in fields.values()]})


def no_query(query: str) -> None:
    """The URL takes no parameters: one that is ignored would be believed."""
    _query(query, ())


# ---- members --------------------------------------------------------------------------------


def _other(caller: SAEId, text: str, name: str) -> SAEId:
    other = _sae(text, name)
    if other == caller:
        raise BadRequest(f"{name}: {shown(other)} is the caller: master and slave must differ")
    return other


def _sae(text: object, name: str) -> SAEId:
    try:
        return sae_id(text)
    except BadName as error:
        raise Malformed(name, f"{shown(error.reason)}; {error.hint}") from None


def _number(number: int | None) -> int:
    number = 1 if number is None else number
    if not 1 <= number <= KEYS_PER_REQUEST_MAX:
        raise BadRequest(f"number shall be 1 to {KEYS_PER_REQUEST_MAX} (max_key_per_request)")
    return number


def _key_bytes(size: int | None) -> int:
    if size is None:
        return KEY_BYTES_DEFAULT
    if size % 8:
        raise BadRequest(SIZE_MULTIPLE)
    if not KEY_BYTES_MIN <= size // 8 <= KEY_BYTES_MAX:
        raise BadRequest(
            f"size shall be {8 * KEY_BYTES_MIN} to {8 * KEY_BYTES_MAX} bits "
            "(min_key_size, max_key_size)"
        )
    return size // 8


def _additional(caller: SAEId, first: SAEId, asked: Members) -> tuple[SAEId, ...]:
    name = "additional_slave_SAE_IDs"
    listed = _list(asked, name)
    # Not one by one: a body has room for tens of thousands.
    if len(listed) > ADDITIONAL_SLAVES_MAX:
        raise BadRequest(f"{name}: at most {ADDITIONAL_SLAVES_MAX} are served (max_SAE_ID_count)")
    named = {caller, first}
    additional = []
    for number, text in enumerate(listed):
        one = _sae(text, f"{name}[{number}]")
        if one in named:
            raise BadRequest(f"{name}[{number}]: {shown(one)} is master, slave or named twice")
        named.add(one)
        additional.append(one)
    return tuple(additional)


def _symmetric(asked: Members) -> None:
    """``key_type``, which applications of oblivious keys send: 0 symmetric, 1 oblivious."""
    if asked.uint32("key_type"):
        raise BadRequest("key_type: oblivious keys are not served here; leave it out, or send 0")


def _extensions(asked: Members) -> None:
    """Clause 6.2: what is mandatory is met or refused; what is optional may be ignored, and is."""
    given = [pair for one in _objects(asked, "extension_mandatory") for pair in one.items()]
    _objects(asked, "extension_optional")
    mandatory = [name for name, value in given if name not in _SERVED or value != _SERVED[name]]
    unsupported = [name for name in dict.fromkeys(mandatory) if name not in _UNMET]
    if unsupported:
        raise BadRequest(
            UNSUPPORTED,
            [
                {"extension_mandatory_unsupported": f"{shown(name)} is not supported"}
                for name in unsupported[:_DETAILS_MAX]
            ],
        )
    if mandatory:
        unmet = [f"{name}: {_UNMET[name]}" for name in dict.fromkeys(mandatory)]
        raise BadRequest(UNMET, [{"extension_mandatory_unmet": words} for words in unmet])


def _list(asked: Members, name: str) -> list[object]:
    """Empty if absent or null."""
    value = asked.take(name)
    if value is not None and not isinstance(value, list):
        raise Malformed(asked.at(name), "must be an array")
    return value or []


def _object(asked: Members, name: str) -> None:
    value = asked.take(name)
    if value is not None and not isinstance(value, dict):
        raise Malformed(asked.at(name), "must be an object")


def _objects(asked: Members, name: str) -> list[dict[str, object]]:
    objects = []
    for number, one in enumerate(_list(asked, name)):
        if not isinstance(one, dict):
            raise Malformed(f"{name}[{number}]", "must be an object")
        objects.append(one)
    return objects


# ---- key IDs --------------------------------------------------------------------------------


def _block(listed: list[object]) -> bytes:
    """16 octets of each element, in their order."""
    texts = [
        # What most clients send is seen at a glance; all else is read with more words.
        one["key_ID"]
        if isinstance(one, dict) and len(one) == 1 and _is_uuid(one.get("key_ID"))
        else _key_id(one, number)
        for number, one in enumerate(listed)
    ]
    if len({text.lower() for text in texts}) < len(texts):
        raise Malformed("key_IDs", "names a key twice")
    return bytes.fromhex("".join(texts).replace("-", ""))


def _key_id(one: object, number: int) -> str:
    at = f"key_IDs[{number}]"
    if not isinstance(one, dict):
        raise Malformed(at, "must be an object")
    members = Members(one, path=at)
    text = members.text("key_ID", characters_max=_KEY_ID_CHARACTERS_MAX)
    _object(members, "key_ID_extension")
    members.done()
    if text is None:
        raise Malformed(f"{at}.key_ID", "is needed")
    if not _is_uuid(text):
        raise Malformed(f"{at}.key_ID", "must be a UUID with its four hyphens (RFC 4122)")
    return text


def _is_uuid(text: object) -> bool:
    return isinstance(text, str) and _UUID.fullmatch(text) is not None


# ---- queries --------------------------------------------------------------------------------


def _query(query: str, known: tuple[str, ...]) -> dict[str, str]:
    if not query:
        return {}
    try:
        pairs = parse_qsl(
            query,
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_QUERY_FIELDS_MAX,
        )
    except ValueError:
        raise Malformed("query", "does not read") from None
    fields: dict[str, str] = {}
    for name, text in pairs:
        if name not in known:
            wanted = " or ".join(known) or "no parameter"
            raise Malformed(shown(name), f"is not known here: the URL takes {wanted}")
        if name in fields:
            raise Malformed(name, "is given twice")
        fields[name] = text
    return fields


def _whole(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX):
        raise Malformed(name, f"must be a whole number of at most {_DIGITS_MAX} digits")
    return int(text)
