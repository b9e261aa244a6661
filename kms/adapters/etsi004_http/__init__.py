"""ETSI GS QKD 004 V2.1.1 over HTTP and JSON.

Reason: 004 fixes functions, not a transport (annex C names REST among the possible ones). This
binding has the standard's own member names, so that its clause 6 is the manual. Nothing is
decided here: bytes become a request of ``kms.domain.requests``, the reply becomes bytes.

``strict`` reads JSON without mercy, ``reading`` makes requests of it, ``answering`` renders
replies, ``app`` joins them to routes, ``hot`` does so for GET_KEY
on the edge's fast way, ``openapi`` describes all that and is served beside it.
"""

from kms.adapters.etsi004_http.app import etsi004_app
from kms.adapters.etsi004_http.hot import HotGetKey

__all__ = ["HotGetKey", "etsi004_app"]
