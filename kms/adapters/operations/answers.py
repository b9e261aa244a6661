"""How both applications answer: JSON, and a refusal says what is wrong and what to do."""

from http import HTTPStatus

import msgspec
from quart import Response
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from kms.domain.errors import AppFault, KMSError


def answer(fields: object, code: HTTPStatus = HTTPStatus.OK) -> Response:
    """``fields`` as JSON, never kept by a cache."""
    response = Response(msgspec.json.encode(fields), code, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def refuse_in_json(app: QuartTrio) -> None:
    """Faults and unknown paths are answered as ``{"message", "hint"}``."""

    async def fault(error: KMSError) -> Response:
        code = HTTPStatus.BAD_REQUEST if isinstance(error, AppFault) else HTTPStatus.CONFLICT
        return answer({"message": error.reason, "hint": error.hint}, code)

    async def unknown(error: HTTPException) -> Response:
        code = HTTPStatus(error.code or 500)
        return answer({"message": code.phrase, "hint": "docs/operations.md lists the paths"}, code)

    app.register_error_handler(KMSError, fault)
    app.register_error_handler(HTTPException, unknown)
