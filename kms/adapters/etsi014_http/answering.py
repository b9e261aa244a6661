"""A reply, or a fault, becomes an HTTP answer.

ETSI GS QKD 014 V1.1.1 clause 5: 200, 400 and 503 with JSON, 401 without a body, and nothing else.
Other codes are for what the standard does not know: URLs and methods that are not its own.
"""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec.json

from kms.adapters.edge import Answer
from kms.adapters.etsi014_http.container import container
from kms.adapters.etsi014_http.reading import BadRequest
from kms.domain import limits
from kms.domain.errors import AppFault, KMSError, Sealed
from kms.domain.keyrequests import KeysReply, Outcome, PairStatusReply
from kms.domain.names import SAEId
from kms.ports.northbound import Forbidden, Overloaded

JSON = "application/json"
_ERROR_ON_SERVER_SIDE = "error on server side"
_RETRY_OVERLOADED = {"retry-after": "1"}
# A person, or the service manager, has to unseal.
_RETRY_SEALED = {"retry-after": "30"}
_SCHEME = "kms:"
"""of a KME ID, as it stands in the node's certificate, where the SAE looks (clause 5)"""


def keys(reply: KeysReply) -> Answer:
    """The Key container, if there is one. The keys are wiped."""
    if reply.outcome is not Outcome.DELIVERED:
        return _refused(reply.outcome, reply.message)
    assert reply.keys is not None, "delivered"
    return _response(HTTPStatus.OK, container(reply.key_ids, reply.keys))


def status(reply: PairStatusReply, *, node: str, master: SAEId, slave: SAEId) -> Answer:
    """The Status (clause 6.1), sizes in bits."""
    if reply.outcome is not Outcome.DELIVERED:
        return _refused(reply.outcome, reply.message)
    return answer(
        HTTPStatus.OK,
        {
            "source_KME_ID": f"{_SCHEME}{node}",
            "target_KME_ID": f"{_SCHEME}{reply.slave_node}",
            "master_SAE_ID": master,
            "slave_SAE_ID": slave,
            "key_size": 8 * reply.key_bytes,
            "stored_key_count": reply.stored_keys,
            "max_key_count": reply.stored_keys_max,
            "max_key_per_request": limits.KEYS_PER_REQUEST_MAX,
            "max_key_size": 8 * limits.KEY_BYTES_MAX,
            "min_key_size": 8 * limits.KEY_BYTES_MIN,
            "max_SAE_ID_count": limits.ADDITIONAL_SLAVES_MAX,
        },
    )


def bad_request(error: BadRequest) -> Answer:
    """HTTP 400, with what the Error tells in detail."""
    members: dict[str, object] = {"message": error.message}
    if error.details:
        members["details"] = error.details
    return answer(HTTPStatus.BAD_REQUEST, members)


def fault(error: KMSError) -> Answer | None:
    """None for a fault of our own, whose words stay here."""
    match error:
        case Forbidden():
            return unauthorized()
        case Overloaded():
            return failed(
                HTTPStatus.SERVICE_UNAVAILABLE, f"{error.reason}: {error.hint}", _RETRY_OVERLOADED
            )
        case Sealed():
            # The hint is for the operator; the application can only wait.
            return failed(HTTPStatus.SERVICE_UNAVAILABLE, error.reason, _RETRY_SEALED)
        case AppFault():
            return failed(HTTPStatus.BAD_REQUEST, f"{error.reason}: {error.hint}")
        case _:
            return None


def our_fault() -> Answer:
    """HTTP 503, the standard's code for it; the operator's log says more."""
    return failed(HTTPStatus.SERVICE_UNAVAILABLE, _ERROR_ON_SERVER_SIDE)


def unauthorized() -> Answer:
    """HTTP 401, which has no body (clause 5)."""
    return Answer(
        status=int(HTTPStatus.UNAUTHORIZED), headers={"cache-control": "no-store"}, body=b""
    )


def failed(status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    """An HTTP status and its words."""
    return answer(status, {"message": message}, headers)


def answer(
    status: HTTPStatus, members: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> Answer:
    """A JSON answer that nobody on the way may keep."""
    return _response(status, msgspec.json.encode(members), headers or {})


def _refused(outcome: Outcome, message: str) -> Answer:
    match outcome:
        case Outcome.NOT_ENTITLED:
            return unauthorized()
        case Outcome.BAD_REQUEST:
            return failed(HTTPStatus.BAD_REQUEST, message)
        case _:
            return failed(HTTPStatus.SERVICE_UNAVAILABLE, message)


def _response(status: HTTPStatus, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(
        status=int(status),
        headers={"cache-control": "no-store", **(headers or {}), "content-type": JSON},
        body=body,
    )
