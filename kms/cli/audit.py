"""Commands for the audit journal."""

import re
import sys
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Parameter

from kms.cli.output import JSON, report
from kms.domain.errors import JournalFault, LocalFault
from kms.ports.journal import JournalHead


def verify(
    journal: Annotated[Path, Parameter(name="FILE", help="the journal, or NODE.toml")],
    /,
    *,
    head: Annotated[tuple[str, ...], Parameter(help="NUMBER:HASH kept elsewhere, repeatable")] = (),
    json: JSON = False,
) -> None:
    """Read the whole journal and check that no record was altered, removed or cut off."""
    from kms.adapters.journal_segments import verify_journal
    from kms.config import load

    path = load(journal).audit_file if journal.suffix == ".toml" else journal
    show = _show if sys.stderr.isatty() and not json else None
    found = verify_journal(path, heads=[_head(text) for text in head], progress=show)
    fields = {"file": str(path), "whole": found.whole, **attrs.asdict(found)}
    if json or found.whole:
        torn = f"; {found.bytes_torn} bytes of a record under way" if found.bytes_torn else ""
        gone = f"; records 1 to {found.retired} were retired" if found.retired else ""
        where = f"record {found.records}, head {found.head.hash}"
        report(fields, f"{path} is whole: {where}{gone}{torn}", as_json=json)
    if not found.whole:
        raise JournalFault(
            f"{path}: {found.fault}", hint="keep the file; compare with the neighbours' heads"
        )


def _show(done: int, size: int) -> None:
    print(f"\r{100 * done // max(size, 1):3d} %", end="\r", file=sys.stderr, flush=True)


def _head(text: str) -> JournalHead:
    if not re.fullmatch(r"\d{1,18}:[0-9a-f]{64}", text):
        raise LocalFault(f"{text!r:.90} is not a head", hint="give NUMBER:HASH, as status shows")
    number, hash_ = text.split(":")
    return JournalHead(number=int(number), hash=hash_)
