"""The routes: POST open_connect, get_key, close; GET openapi.json.

Rules. The caller comes from the certificate, at every request, before its body is read. A body
may only confirm it: the caller is ``source`` or ``destination`` (in client/server use, source is
the server: ETSI GS QKD 004 table 1). An unknown and a foreign Key_stream_ID get the node's answer
as it is. No handler has a deadline of its own: the Timeout agreed for the stream is the node's.
"""

from http import HTTPStatus
from types import TracebackType
from typing import Any

from quart import request
from quart_trio import QuartTrio
from quart_trio.wrappers import TrioResponse
from structlog.typing import FilteringBoundLogger
from werkzeug.exceptions import (
    HTTPException,
    MethodNotAllowed,
    NotAcceptable,
    UnsupportedMediaType,
)

from kms.adapters.edge import Answer
from kms.adapters.etsi004_http import answering, faults, reading
from kms.adapters.etsi004_http.answering import JSON, OCTETS
from kms.adapters.etsi004_http.openapi import PREFIX, document
from kms.adapters.etsi004_http.strict import Malformed, Members, read
from kms.adapters.identity import Identities, caller_of
from kms.domain.errors import KMSError
from kms.domain.limits import KIB
from kms.domain.names import SAEId
from kms.ports.northbound import Forbidden, Northbound

# The edge refuses larger ones before they get here; this is for an application without it.
_BODY_BYTES_MAX = 64 * KIB


def etsi004_app(
    northbound: Northbound, log: FilteringBoundLogger, identities: Identities | None = None
) -> QuartTrio:
    """An ASGI application for the edge, on a listener with mutual TLS. ``identities`` None: an
    application is its URI SAN."""
    identities = identities or Identities()
    app = _App(__name__, log)
    app.config["MAX_CONTENT_LENGTH"] = _BODY_BYTES_MAX
    # The edge bounds sending, and ends the connection with it; Quart would only fall silent.
    app.config["RESPONSE_TIMEOUT"] = None
    # No redirect to a tidier path: its Location would be made of the client's Host header.
    app.url_map.merge_slashes = False

    def caller() -> SAEId:
        return caller_of(request.scope.get("state", {}), northbound.is_revoked, identities)

    @app.post(f"{PREFIX}/open_connect", provide_automatic_options=False)
    async def open_connect() -> TrioResponse:
        one = caller()
        _acceptable(JSON)
        asked = reading.open_connect(await _body())
        if one not in (asked.source, asked.destination):
            raise Forbidden(
                "the certificate names neither source nor destination",
                hint="an application opens streams of its own",
            )
        return _response(answering.opened(await northbound.open_connect(one, asked)))

    @app.post(f"{PREFIX}/get_key", provide_automatic_options=False)
    async def get_key() -> TrioResponse:
        one = caller()
        wanted = _acceptable(JSON, OCTETS)
        asked = reading.get_key(await _body())
        return _response(answering.key(await northbound.get_key(one, asked), wanted))

    @app.post(f"{PREFIX}/close", provide_automatic_options=False)
    async def close() -> TrioResponse:
        one = caller()
        _acceptable(JSON)
        asked = reading.close(await _body())
        return _response(answering.closed(await northbound.close(one, asked)))

    @app.get(f"{PREFIX}/openapi.json", provide_automatic_options=False)
    async def openapi() -> TrioResponse:
        caller()
        _acceptable(JSON)
        return _response(answering.answer(HTTPStatus.OK, document()))

    app.register_error_handler(Malformed, _malformed)
    app.register_error_handler(KMSError, _fault)
    app.register_error_handler(HTTPException, _http)
    return app


class _App(QuartTrio):
    """Quart, with its faults in our log: type, words and place, no local variables."""

    def __init__(self, name: str, log: FilteringBoundLogger) -> None:
        super().__init__(name, static_folder=None)
        self._log = log

    def log_exception(self, *context_and_info: Any) -> None:
        """Called for exceptions that no handler names; the client gets 500. Quart 0.23 passes its
        context first, Quart 0.22 (the last for Python 3.11) the exception only."""
        info: tuple[type | None, BaseException | None, TracebackType | None] = context_and_info[-1]
        if info[1] is not None:
            faults.tell(self._log, info[1])


async def _body() -> Members:
    """The request's JSON object. Raises ``Malformed`` or an ``HTTPException``."""
    if request.mimetype != JSON:
        raise UnsupportedMediaType(f"Content-Type must be {JSON}")
    charset = request.mimetype_params.get("charset", "utf-8")
    if charset.lower() not in ("utf-8", "utf8"):
        raise UnsupportedMediaType("charset must be UTF-8")
    if request.content_encoding not in (None, "identity"):
        raise UnsupportedMediaType("Content-Encoding must be absent")
    return read(await request.get_data(cache=False, as_text=False, parse_form_data=False))


def _acceptable(*offered: str) -> str:
    """The media type that the client likes best, the first one if all the same."""
    if not request.accept_mimetypes.provided:
        return offered[0]
    best = request.accept_mimetypes.best_match(offered)
    if best is None:
        raise NotAcceptable(f"here is {' or '.join(offered)}")
    return best


async def _malformed(error: Malformed) -> TrioResponse:
    return _response(answering.malformed(error))


async def _fault(error: KMSError) -> TrioResponse:
    answer = answering.fault(error)
    if answer is None:
        # Our own fault: Quart logs it and answers 500, without its words.
        raise error
    return _response(answer)


async def _http(error: HTTPException) -> TrioResponse:
    status = HTTPStatus(error.code or 500)
    said = error.description if status < HTTPStatus.INTERNAL_SERVER_ERROR else None
    headers = {}
    if isinstance(error, MethodNotAllowed):
        # RFC 9110 15.5.6: 405 names the methods that the path has.
        headers["allow"] = ", ".join(sorted(error.valid_methods or ()))
    return _response(answering.failed(status, said, headers))


def _response(answer: Answer) -> TrioResponse:
    return TrioResponse(answer.body, status=answer.status, headers=dict(answer.headers))
