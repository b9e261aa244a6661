"""A check for schemathesis (``SCHEMATHESIS_HOOKS``): what the 014 document allows is refused for
reasons alone that no document can know.

ETSI GS QKD 014 has one code, 400, for what is malformed and for what the node does not know. So a
400 to a request that the document allows has to say one of these things.
"""

import json
from typing import Any, Final

import schemathesis

UNKNOWABLE: Final = (
    "it is not known where",
    "both applications live at this node",
    "which is no neighbour",
    "one or more keys specified are not found on KME",
    "the keys have several sizes",
    # What two members, or a member and the URL, are to each other.
    "key_IDs: names a key twice",
    "is master, slave or named twice",
    "is the caller: master and slave must differ",
)


@schemathesis.check
def allowed_is_taken(ctx: Any, response: Any, case: Any) -> None:
    """Fails for a 400 to an allowed request that says nothing of this."""
    meta = case.meta
    if meta is None or not meta.generation.mode.is_positive or response.status_code != 400:
        return
    message = json.loads(response.content)["message"]
    assert any(words in message for words in UNKNOWABLE), f"what is allowed is 400: {message}"
