"""One request, one answer: what both ways to an application have in common.

Rules. The caller comes from the certificate, at every request, and is asked before anything else of
the request is looked at. It is the master of the keys it asks for with enc_keys, the slave of those
it asks for with dec_keys. No request has a deadline here: the node's own bounds are.
"""

from functools import lru_cache
from http import HTTPStatus
from typing import Final

from structlog.typing import FilteringBoundLogger
from werkzeug.http import parse_options_header

from kms.adapters.edge import PEER_DER, Answer, place_of
from kms.adapters.etsi004_http.strict import Malformed, Members, read
from kms.adapters.etsi014_http import answering, reading
from kms.adapters.etsi014_http.answering import JSON
from kms.adapters.etsi014_http.openapi import document
from kms.adapters.etsi014_http.reading import BadRequest
from kms.adapters.etsi014_http.routes import Method, Route
from kms.adapters.identity import Identities, caller_of
from kms.domain.errors import KMSError
from kms.domain.keyrequests import EncKeys
from kms.domain.names import NodeId, SAEId
from kms.ports.northbound import Northbound

# Requests to remember: those of the applications that are at work at one time, 256 KiB of them.
_REMEMBERED_MAX: Final = 1024
_REMEMBERED_BYTES_MAX: Final = 256
_UTF_8: Final = ("utf-8", "utf8")
_NOT_JSON: Final = f"Content-Type must be {JSON}, in UTF-8"


class Desk:
    """Asks the counter for whoever shows a certificate."""

    def __init__(
        self,
        northbound: Northbound,
        node: NodeId,
        log: FilteringBoundLogger,
        identities: Identities | None = None,
    ) -> None:
        """``identities`` None: an application is its URI SAN."""
        self._northbound = northbound
        self._identities = identities or Identities()
        self._node = node
        self._log = log

    async def answer(
        self, route: Route, content_type: str, der: bytes | None, body: bytes
    ) -> Answer:
        """Never raises for what a client or the counter does."""
        try:
            caller = caller_of({PEER_DER: der}, self._northbound.is_revoked, self._identities)
            return await self._serve(route, caller, _declared(content_type, body))
        except Malformed as error:
            return answering.bad_request(BadRequest(str(error)))
        except BadRequest as error:
            return answering.bad_request(error)
        except Exception as error:  # noqa: BLE001
            # A fault of our own is this request's alone, and its words stay here.
            answer = answering.fault(error) if isinstance(error, KMSError) else None
            if answer is None:
                self._log.error(
                    "etsi014_failed",
                    error=type(error).__name__,
                    reason=str(error)[:200],
                    at=place_of(error),
                )
            return answer or answering.our_fault()

    async def _serve(self, route: Route, caller: SAEId, body: bytes) -> Answer:
        if route.verb == "GET" and body:
            raise BadRequest("a GET has no body: its parameters are in the URL, or it is a POST")
        match route.method:
            case Method.ENC_KEYS:
                short = len(route.query) + len(body) <= _REMEMBERED_BYTES_MAX
                asked = (_enc_keys_again if short else _enc_keys)(caller, route, body)
                return answering.keys(await self._northbound.enc_keys(caller, asked))
            case Method.DEC_KEYS:
                wanted = reading.dec_keys(caller, route.other, _dec_members(route, body))
                return answering.keys(await self._northbound.dec_keys(caller, wanted))
            case Method.STATUS:
                reading.no_query(route.query)
                pair = reading.pair_status(caller, route.other)
                reply = await self._northbound.pair_status(caller, pair)
                return answering.status(reply, node=self._node, master=caller, slave=pair.slave)
            case Method.OPENAPI:
                reading.no_query(route.query)
                return answering.answer(HTTPStatus.OK, document())


def _enc_keys(caller: SAEId, route: Route, body: bytes) -> EncKeys:
    return reading.enc_keys(caller, route.other, _enc_members(route, body))


# An application asks for its next keys in the same words each time, so they are read once.
_enc_keys_again = lru_cache(maxsize=_REMEMBERED_MAX)(_enc_keys)


def _enc_members(route: Route, body: bytes) -> Members:
    if route.verb == "GET":
        return reading.enc_query(route.query)
    reading.no_query(route.query)
    # Clause 6.2: every member is optional, and so is the whole.
    return read(body) if body else Members({})


def _dec_members(route: Route, body: bytes) -> Members:
    if route.verb == "GET":
        return reading.dec_query(route.query)
    reading.no_query(route.query)
    return read(body)


def _declared(content_type: str, body: bytes) -> bytes:
    """The body, if it is what the client says, and we read that. None needs no words."""
    if body and content_type != JSON:
        kind, options = parse_options_header(content_type)
        if kind.lower() != JSON or options.get("charset", "utf-8").lower() not in _UTF_8:
            raise BadRequest(_NOT_JSON)
    return body
