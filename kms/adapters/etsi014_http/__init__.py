"""ETSI GS QKD 014 V1.1.1: keys with IDs, over HTTPS and JSON.

Nothing is decided here: a request line and a body become a request of ``kms.domain.keyrequests``,
the reply becomes bytes. ``routes`` reads the URL, ``reading`` the rest, ``answering`` renders
replies, ``container`` the keys among them; ``desk`` joins them to the counter. ``app`` and ``hot``
are the two ways to the desk (docs/adr/0015), and ``openapi`` describes what it does.
"""

from kms.adapters.etsi014_http.app import etsi014_app
from kms.adapters.etsi014_http.hot import HotKeys

__all__ = ["HotKeys", "etsi014_app"]
