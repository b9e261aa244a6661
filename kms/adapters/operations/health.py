"""GET /health and GET /metrics: what a watcher outside the node asks.

Rules: nothing here changes the node or waits for it. Health is 200 when applications are served,
on some links at least, and 503 when none is. Plain HTTP without names or keys of applications: the
figures are per link and device, never per stream.
"""

from http import HTTPStatus

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.process_collector import ProcessCollector
from quart import Response
from quart_trio import QuartTrio

from kms.adapters.operations.answers import answer, refuse_in_json
from kms.adapters.operations.metrics import NodeCollector
from kms.domain.statistics import NodeState
from kms.ports.admin import NodeView

_SERVING = frozenset({NodeState.READY, NodeState.DEGRADED})


def operations_app(view: NodeView) -> QuartTrio:
    """The application; ``view`` is asked anew for each request."""
    app = QuartTrio("kms.operations", static_folder=None)
    refuse_in_json(app)
    registry = CollectorRegistry()
    registry.register(NodeCollector(view))
    ProcessCollector(registry=registry)

    @app.get("/health")
    async def health() -> Response:
        status = view.status()
        code = HTTPStatus.OK if status.state in _SERVING else HTTPStatus.SERVICE_UNAVAILABLE
        return answer({"state": status.state.value, "why": list(status.why)}, code)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    return app
