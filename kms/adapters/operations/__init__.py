"""What the operator sees and does: health and metrics over HTTP, commands over a unix socket.

Theory of operation: two small applications without state, served by the edge. ``operations_app``
shows the node to whoever can reach its address, and changes nothing. ``admin_app`` carries the
operator's commands to the ``Admin`` port; the mode of its socket, 0600, decides who may.
"""

from kms.adapters.operations.admin import ADMIN_BOUNDS, admin_app
from kms.adapters.operations.health import operations_app

__all__ = ["ADMIN_BOUNDS", "admin_app", "operations_app"]
