"""GET_KEY on the fast way: what ``app`` does with it, without Quart.

Rules. Only a header that has one obvious meaning is taken (``edge.plain_headers``), and one plain
media type each way. The reading, the answers and what they say of faults are those of ``app``.
"""

from functools import partial
from http import HTTPStatus

import h11
from structlog.typing import FilteringBoundLogger

from kms.adapters.edge import PEER_DER, Answer, Handler, plain_headers
from kms.adapters.etsi004_http import answering, faults, reading
from kms.adapters.etsi004_http.answering import JSON, OCTETS
from kms.adapters.etsi004_http.openapi import PREFIX
from kms.adapters.etsi004_http.strict import Malformed
from kms.adapters.identity import Identities, caller_of
from kms.domain.errors import KMSError
from kms.ports.northbound import Northbound

_TARGET = f"{PREFIX}/get_key".encode()
_CONTENT_TYPES = (b"application/json", b"application/json; charset=utf-8")
_ACCEPTED = {
    b"*/*": JSON,
    b"application/json": JSON,
    b"application/octet-stream": OCTETS,
}


class HotGetKey:
    """Implements ``edge.HotRoutes``."""

    request_lines = (b"POST " + _TARGET + b" HTTP/1.1\r\n",)

    def __init__(
        self,
        northbound: Northbound,
        log: FilteringBoundLogger,
        identities: Identities | None = None,
    ) -> None:
        """``identities`` None: an application is its URI SAN."""
        self._northbound = northbound
        self._identities = identities or Identities()
        self._log = log

    def handler(self, request: h11.Request) -> Handler | None:
        """See ``edge.HotRoutes``."""
        headers = plain_headers(request) or {}
        wanted = _ACCEPTED.get(headers.get(b"accept", b"*/*"))
        plain = request.target == _TARGET and headers.get(b"content-type") in _CONTENT_TYPES
        return partial(self._get_key, wanted) if plain and wanted else None

    async def _get_key(self, wanted: str, der: bytes | None, body: bytes) -> Answer:
        try:
            caller = caller_of({PEER_DER: der}, self._northbound.is_revoked, self._identities)
            asked = reading.get_key_again(body)
            return answering.key(await self._northbound.get_key(caller, asked), wanted)
        except Malformed as error:
            return answering.malformed(error)
        except Exception as error:  # noqa: BLE001
            # As Quart does: a fault of our own is this request's alone, and its words stay here.
            answer = answering.fault(error) if isinstance(error, KMSError) else None
            if answer is None:
                faults.tell(self._log, error)
            return answer or answering.failed(HTTPStatus.INTERNAL_SERVER_ERROR)
