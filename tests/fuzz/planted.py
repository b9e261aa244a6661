"""Bugs on purpose, for the tests that show that fuzzing finds them: imported when the environment
of a target's process asks for it (``engine``), and by nobody else.
"""

from kms.adapters.etsi004_http import reading as reading004
from kms.adapters.etsi014_http import reading as reading014
from kms.domain import names


def ksid(text: object) -> names.KSID:
    """Falls over a name that is one character short."""
    if len(str(text)) == 35:
        raise ZeroDivisionError("planted")
    return names.ksid(text)


def is_uuid(text: object) -> bool:
    """Falls over an ID that is some characters short."""
    if 30 < len(str(text)) < 36:
        raise ZeroDivisionError("planted")
    return right(text)


right = reading014._is_uuid
vars(reading004)["ksid"] = ksid
vars(reading014)["_is_uuid"] = is_uuid
