"""The OpenAPI 3.1 document, served beside the routes it describes.

Written by hand: what is refused here although the standard has it (mandatory extensions, oblivious
keys) is in no type. Every exchange of the tests is validated against it, so that it cannot
drift. Schemas of requests are closed, as the reader is; those of answers are open, so that a later
version may add members.
"""

from functools import cache
from http import HTTPStatus

from kms.adapters.etsi014_http.routes import OPENAPI, PREFIX
from kms.domain import limits
from kms.domain.names import SAE_LENGTH_MAX, SAE_PATTERN

Json = dict[str, object]

_ABOUT = f"""\
Get status, Get key and Get key with key IDs of ETSI GS QKD 014 V1.1.1 (2019-02), clauses 5 and 6.
Who calls is taken from the client certificate: its one URI SAN, of scheme `sae`. The caller of
enc_keys is the master SAE of the keys, the caller of dec_keys a slave SAE. A SAE ID in the URL is
percent-encoded. Bodies are at most {limits.KEYS_BODY_BYTES_MAX // limits.KIB} KiB of UTF-8 JSON; a
member or parameter that is not known is 400, one that is null counts as absent.

Each key is delivered once to the master and to each slave, and no lost answer is repeated. A key is
given to the master when the KMEs of all its slaves hold it. One mandatory extension is
met, `kms_link_type`: `PHYS` (the keys come from links that devices feed); others are refused. What
is optional is ignored. Oblivious keys are not served.
"""

_UINT: Json = {"type": "integer", "minimum": 0}
_UUID = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"


@cache
def document() -> Json:
    """The whole document. Do not change what is returned."""
    slave, master = _sae("slave_SAE_ID"), _sae("master_SAE_ID")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Key delivery, ETSI GS QKD 014 V1.1.1",
            "version": "1.1.1",
            "description": _ABOUT,
        },
        "paths": {
            f"{PREFIX}/{{slave_SAE_ID}}/status": {
                "parameters": [slave],
                "get": _operation("status", "Get status", "Status"),
            },
            f"{PREFIX}/{{slave_SAE_ID}}/enc_keys": {
                "parameters": [slave],
                "get": _operation(
                    "enc_keys_get",
                    "Get key",
                    "KeyContainer",
                    parameters=[
                        _parameter("number", _number("integer")),
                        _parameter("size", _size("integer")),
                        _parameter("key_type", _key_type("integer")),
                    ],
                ),
                "post": _operation(
                    "enc_keys",
                    "Get key",
                    "KeyContainer",
                    requestBody={"required": False, "content": _json("KeyRequest")},
                ),
            },
            f"{PREFIX}/{{master_SAE_ID}}/dec_keys": {
                "parameters": [master],
                "get": _operation(
                    "dec_keys_get",
                    "Get key with key IDs",
                    "KeyContainer",
                    parameters=[_parameter("key_ID", _ref("KeyID"), required=True)],
                ),
                "post": _operation(
                    "dec_keys",
                    "Get key with key IDs",
                    "KeyContainer",
                    requestBody={"required": True, "content": _json("KeyIDs")},
                ),
            },
            OPENAPI: {
                "get": {
                    "operationId": "openapi",
                    "summary": "This document",
                    "responses": {
                        "200": {
                            "description": "OpenAPI 3.1",
                            "content": {"application/json": {"schema": {"type": "object"}}},
                        },
                        **_refusals(400, 401),
                    },
                }
            },
        },
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"mutualTLS": {"type": "mutualTLS"}},
        },
        "security": [{"mutualTLS": []}],
    }


def _operation(name: str, summary: str, schema: str, **more: object) -> Json:
    return {
        "operationId": name,
        "summary": summary,
        **more,
        "responses": {
            "200": {"description": schema, "content": _json(schema)},
            **_refusals(400, 401, *([413] if "requestBody" in more else []), 503),
        },
    }


_REFUSALS = {
    400: "Bad request; `message` says why",
    401: "The certificate or policy refuses this caller, or a key was not made for it; no body",
    413: "The body is too large; the connection closes",
    503: "Not enough key now, a bound is reached, or the KME is sealed or at fault; nothing"
    " was taken, unless `message` says that keys are lost",
}


def _refusals(*codes: int) -> Json:
    return {
        str(code): {"description": _REFUSALS[code]}
        | ({} if code == HTTPStatus.UNAUTHORIZED else {"content": _json("Error")})
        for code in codes
    }


def _schemas() -> Json:
    return {
        "SAEID": {
            "type": "string",
            "maxLength": SAE_LENGTH_MAX,
            "pattern": SAE_PATTERN,
            "examples": ["sae:app.site"],
        },
        "KeyID": {"type": "string", "format": "uuid", "pattern": _UUID},
        "Status": _open(
            {
                "source_KME_ID": {"type": "string"},
                "target_KME_ID": {"type": "string"},
                "master_SAE_ID": _ref("SAEID"),
                "slave_SAE_ID": _ref("SAEID"),
                "key_size": {**_UINT, "description": "bits, of a key if the request names no size"},
                "stored_key_count": _UINT,
                "max_key_count": _UINT,
                "max_key_per_request": {"const": limits.KEYS_PER_REQUEST_MAX},
                "max_key_size": {"const": 8 * limits.KEY_BYTES_MAX, "description": "bits"},
                "min_key_size": {"const": 8 * limits.KEY_BYTES_MIN, "description": "bits"},
                "max_SAE_ID_count": {"const": limits.ADDITIONAL_SLAVES_MAX},
            },
            "source_KME_ID",
            "target_KME_ID",
            "master_SAE_ID",
            "slave_SAE_ID",
            "key_size",
            "stored_key_count",
            "max_key_count",
            "max_key_per_request",
            "max_key_size",
            "min_key_size",
            "max_SAE_ID_count",
        ),
        "KeyRequest": _closed(
            {
                "number": _number(["integer", "null"]),
                "size": _size(["integer", "null"]),
                "additional_slave_SAE_IDs": {
                    "type": ["array", "null"],
                    "items": _ref("SAEID"),
                    "uniqueItems": True,
                    "maxItems": limits.ADDITIONAL_SLAVES_MAX,
                    "description": "neither master nor slave; each gets the same keys",
                    "examples": [["sae:app.third-site"]],
                },
                "extension_mandatory": {
                    "type": ["array", "null"],
                    "items": {
                        "type": "object",
                        "properties": {"kms_link_type": {"const": "PHYS"}},
                        "additionalProperties": False,
                    },
                    "description": "others are not supported",
                    "examples": [[{"kms_link_type": "PHYS"}]],
                },
                "extension_optional": {
                    "type": ["array", "null"],
                    "items": {"type": "object"},
                    "description": "ignored",
                },
                "key_type": _key_type(["integer", "null"]),
            }
        ),
        "KeyIDs": _closed(
            {
                "key_IDs": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": limits.KEYS_PER_REQUEST_MAX,
                    "uniqueItems": True,
                    "items": _closed(
                        {"key_ID": _ref("KeyID"), "key_ID_extension": _ignored()}, "key_ID"
                    ),
                },
                "key_IDs_extension": _ignored(),
            },
            "key_IDs",
        ),
        "KeyContainer": _open(
            {
                "keys": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": limits.KEYS_PER_REQUEST_MAX,
                    "items": _open(
                        {
                            "key_ID": _ref("KeyID"),
                            "key": {"type": "string", "contentEncoding": "base64"},
                        },
                        "key_ID",
                        "key",
                    ),
                }
            },
            "keys",
        ),
        "Error": _open(
            {
                "message": {"type": "string"},
                "details": {"type": "array", "items": {"type": "object"}},
            },
            "message",
        ),
    }


def _number(kind: str | list[str]) -> Json:
    return {
        "type": kind,
        "minimum": 1,
        "maximum": limits.KEYS_PER_REQUEST_MAX,
        "description": "of keys; 1 if absent",
    }


def _size(kind: str | list[str]) -> Json:
    return {
        "type": kind,
        "minimum": 8 * limits.KEY_BYTES_MIN,
        "maximum": 8 * limits.KEY_BYTES_MAX,
        "multipleOf": 8,
        "description": f"of each key in bits; {8 * limits.KEY_BYTES_DEFAULT} if absent",
    }


def _key_type(kind: str | list[str]) -> Json:
    return {
        "type": kind,
        "minimum": 0,
        "maximum": 0,
        "description": "not the standard's: 0 symmetric; 1, oblivious, is not served",
    }


def _ignored() -> Json:
    return {"type": ["object", "null"], "description": "ignored"}


def _sae(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": _ref("SAEID")}


def _parameter(name: str, schema: Json, *, required: bool = False) -> Json:
    return {"name": name, "in": "query", "required": required, "schema": schema}


def _json(name: str) -> Json:
    return {"application/json": {"schema": _ref(name)}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _open(properties: Json, *required: str) -> Json:
    return {"type": "object", "properties": properties, "required": list(required)}


def _closed(properties: Json, *required: str) -> Json:
    return {**_open(properties, *required), "additionalProperties": False}
