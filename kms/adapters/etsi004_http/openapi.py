"""The OpenAPI 3.1 document, served beside the routes it describes.

Written by hand: the routes are three, and what a client must know (which status means what, which
outcome is HTTP 200) is in no type. Every exchange of the tests is validated against it, so that it
cannot drift. Schemas of requests are closed, as the reader is; those of answers are open, so that
a later version may add members. Lower-case spellings are accepted too and left out of the schemas'
names: the description says so.
"""

from functools import cache
from http import HTTPStatus

from kms.adapters.etsi004_http.reading import BUFFER_CHARACTERS_MAX, MIMETYPE_CHARACTERS_MAX
from kms.domain.names import SAE_LENGTH_MAX, SAE_PATTERN
from kms.domain.status import Status

PREFIX = "/etsi004/v2.1.1"

Json = dict[str, object]

_UINT32_MAX = 2**32 - 1
# What kms/domain/names.py reads, in the pattern language of JSON Schema.
_KSID = (
    "^[0-9a-fA-F]{8}"
    "(-[0-9a-fA-F]{4}-4[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}"
    "|[0-9a-fA-F]{4}4[0-9a-fA-F]{3}[89abAB][0-9a-fA-F]{15})$"
)

_ABOUT = """\
OPEN_CONNECT, GET_KEY and CLOSE of ETSI GS QKD 004 V2.1.1 (2020-08), clause 6, with the standard's
own names. Every outcome that the standard names is HTTP 200 with `status`. Members may also be
spelled in lower case (`key_stream_id`, `qos`, `key_chunk_size`, ...); one member in two spellings,
or a member that is not known, is HTTP 400. Bodies are at most 64 KiB of UTF-8 JSON. Who calls is
taken from the client certificate: its one URI SAN, or what the operator configured.

Keep connections open: a handshake costs as much as 30 requests. Hanging up during GET_KEY may lose
that key at this end: go on at the next index, at both ends.
"""

_STATUS = """\
0 success; 1 connected, the peer application has not opened the stream yet; 2 not enough key, or
this index was already read; 3 the peer application is not connected, or there is no such stream;
4 no QKD connection; 5 Key_stream_ID in use; 6 timeout; 7 QoS cannot be met, QoS holds what would
be admitted; 8 metadata buffer too small, Metadata_size says what is needed, no key is lost."""


@cache
def document() -> Json:
    """The whole document. Do not change what is returned."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Key delivery, ETSI GS QKD 004 V2.1.1 over HTTP",
            "version": "2.1.1",
            "description": _ABOUT,
        },
        "paths": {
            f"{PREFIX}/open_connect": {"post": _function("OPEN_CONNECT", "Open")},
            f"{PREFIX}/get_key": {"post": _function("GET_KEY", "Get", octets=True)},
            f"{PREFIX}/close": {"post": _function("CLOSE", "Close")},
            f"{PREFIX}/openapi.json": {
                "get": {
                    "operationId": "openapi",
                    "summary": "This document",
                    "responses": {
                        "200": {
                            "description": "OpenAPI 3.1",
                            "content": {"application/json": {"schema": {"type": "object"}}},
                        },
                        **_refusals(403, 406),
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


def _function(name: str, schema: str, *, octets: bool = False) -> Json:
    content: Json = {"application/json": {"schema": _ref(f"{schema}Reply")}}
    ok: Json = {"description": "An outcome that the standard names", "content": content}
    if octets:
        content["application/octet-stream"] = {
            "schema": {
                "type": "string",
                "contentEncoding": "binary",
                "description": "The key, if the client prefers octets; failures stay JSON.",
            }
        }
        ok["headers"] = {
            "KMS-Status": _header("status", {"type": "string", "const": "0"}),
            "KMS-Message": _header("message", {"type": "string"}),
            "KMS-Index": _header("index", {"type": "string", "pattern": "^[0-9]+$"}),
            "KMS-Metadata": _header("Metadata_buffer in base64", {"type": "string"}),
            "KMS-Metadata-Size": _header(
                "Metadata_size", {"type": "string", "pattern": "^[0-9]+$"}
            ),
        }
    return {
        "operationId": name.lower(),
        "summary": name,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref(f"{schema}Request")}},
        },
        "responses": {"200": ok, **_refusals(400, 403, 406, 413, 415, 500, 503)},
    }


def _header(what: str, schema: Json) -> Json:
    return {"description": f"{what}; with octets only", "schema": schema}


def _refusals(*codes: int) -> Json:
    return {str(code): _refusal(code) for code in codes}


def _refusal(code: int) -> Json:
    schema = "Malformed" if code == HTTPStatus.BAD_REQUEST else "Refusal"
    answer: Json = {
        "description": _REFUSALS[code],
        "content": {"application/json": {"schema": _ref(schema)}},
    }
    if code == HTTPStatus.SERVICE_UNAVAILABLE:
        answer["headers"] = {
            "Retry-After": {"schema": {"type": "string", "pattern": "^[0-9]+$"}, "required": True}
        }
    return answer


_REFUSALS = {
    400: "Malformed; `field` names the member at fault",
    403: "The certificate or policy refuses this caller",
    406: "None of the media types in Accept is offered",
    413: "The body is too large; the connection closes",
    415: "The body is not declared as application/json",
    500: "The node is at fault; nothing was delivered",
    503: "A bound is reached, or the node is sealed; nothing changed",
}


def _schemas() -> Json:
    ksid: Json = {
        "type": ["string", "null"],
        "pattern": _KSID,
        "description": "UUID version 4, with its hyphens or without; not secret",
    }
    uri: Json = {"type": "string", "maxLength": SAE_LENGTH_MAX, "pattern": SAE_PATTERN}
    needed_ksid = {**ksid, "type": "string"}
    return {
        "uint32": {"type": "integer", "minimum": 0, "maximum": _UINT32_MAX},
        "Status": {"enum": [int(status) for status in Status], "description": _STATUS},
        "QoS": {
            "type": ["object", "null"],
            "additionalProperties": False,
            "description": "Null, absent or 0: the KMS chooses.",
            "properties": {
                "Key_chunk_size": _uint32("bytes of each key"),
                "Max_bps": _uint32("bit/s, the most that is delivered"),
                "Min_bps": _uint32("bit/s, the least that the application needs"),
                "Jitter": _uint32("bit/s, expected deviation of the delivery rate"),
                "Priority": _uint32("larger is served first"),
                "Timeout": _uint32("ms, for every function of this stream"),
                "TTL": _uint32("s, then undelivered keys are erased"),
                "Metadata_mimetype": {
                    "type": ["string", "null"],
                    "maxLength": MIMETYPE_CHARACTERS_MAX,
                    "pattern": "^[ -~]*$",
                    "description": "application/json, or empty for no metadata",
                },
            },
        },
        "OpenRequest": _closed(
            {
                "source": {**uri, "examples": ["sae:app.site-a"]},
                "destination": {**uri, "examples": ["sae:app.site-b"]},
                "QoS": _ref("QoS"),
                "Key_stream_ID": ksid,
            },
            "source",
            "destination",
        ),
        "OpenReply": _open(
            {
                "status": _ref("Status"),
                "message": {"type": "string"},
                "Key_stream_ID": ksid,
                "QoS": _ref("QoS"),
            },
            "status",
            "message",
            "Key_stream_ID",
            "QoS",
        ),
        "GetRequest": _closed(
            {
                "Key_stream_ID": needed_ksid,
                "index": _uint32("which chunk; null or absent: the next one not read here"),
                "Metadata": {
                    "type": ["object", "null"],
                    "additionalProperties": False,
                    "properties": {
                        "Metadata_size": _uint32(
                            "bytes that the caller has room for; 0: no metadata; absent: no limit"
                        ),
                        "Metadata_buffer": {
                            "type": ["string", "null"],
                            "maxLength": BUFFER_CHARACTERS_MAX,
                            "description": "an output; not looked at in requests",
                        },
                    },
                },
            },
            "Key_stream_ID",
        ),
        "GetReply": {
            **_open(
                {
                    "status": _ref("Status"),
                    "message": {"type": "string"},
                    "index": _ref("uint32"),
                    "Key_buffer": {"type": "string", "contentEncoding": "base64"},
                    "Metadata": _open(
                        {
                            "Metadata_size": _ref("uint32"),
                            "Metadata_buffer": {
                                "type": "string",
                                "description": "JSON: age in ms, hops; may be empty",
                            },
                        },
                        "Metadata_size",
                        "Metadata_buffer",
                    ),
                },
                "status",
                "message",
                "index",
                "Metadata",
            ),
            "if": {"properties": {"status": {"const": int(Status.SUCCESS)}}},
            "then": {"required": ["Key_buffer"]},
            "else": {"not": {"required": ["Key_buffer"]}},
        },
        "CloseRequest": _closed({"Key_stream_ID": needed_ksid}, "Key_stream_ID"),
        "CloseReply": _open(
            {"status": _ref("Status"), "message": {"type": "string"}}, "status", "message"
        ),
        "Malformed": _open(
            {"message": {"type": "string"}, "field": {"type": "string"}}, "message", "field"
        ),
        "Refusal": _open({"message": {"type": "string"}}, "message"),
    }


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _uint32(what: str) -> Json:
    return {
        "type": ["integer", "null"],
        "minimum": 0,
        "maximum": _UINT32_MAX,
        "description": what,
    }


def _open(properties: Json, *required: str) -> Json:
    return {"type": "object", "properties": properties, "required": list(required)}


def _closed(properties: Json, *required: str) -> Json:
    return {**_open(properties, *required), "additionalProperties": False}
