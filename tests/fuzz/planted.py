"""A bug on purpose, for the test that shows that fuzzing finds one: imported when the environment
of a target's process asks for it (``engine``), and by nobody else.
"""

from kms.adapters.etsi004_http import reading
from kms.domain import names


def ksid(text: object) -> names.KSID:
    """Falls over a name that is one character short."""
    if len(str(text)) == 35:
        raise ZeroDivisionError("planted")
    return names.ksid(text)


vars(reading)["ksid"] = ksid
