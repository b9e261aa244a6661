"""Commands about keys: ``kms key suspend``, ``resume`` and ``compromise``.

After NIST SP 800-57 (docs/lifecycle.md): what is suspended is held back and may come back; what is
compromised never does. Which keys is said in one of three ways: a stream (all of it, or a range of
its indices), a link, or one key's ID of ETSI GS QKD 014.
"""

import getpass
import re
from pathlib import Path
from typing import Annotated, Any

import attrs
import msgspec
from cyclopts import Parameter

from kms.cli.output import JSON, NodeFile, client, report
from kms.config import load
from kms.domain.errors import LocalFault
from kms.domain.names import LinkId, link_id, node_id


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Ordered:
    """Of the command line: which keys, why, and who says so."""

    reason: Annotated[str, Parameter(help="for the audit at both ends")]
    stream: Annotated[str | None, Parameter(help="its Key_stream_ID")] = None
    indices: Annotated[str | None, Parameter(help="of the stream: one, or FIRST-LAST")] = None
    link: Annotated[str | None, Parameter(help="all streams over the link to this neighbour")] = (
        None
    )
    key_id: Annotated[str | None, Parameter(help="one key, by its ID of ETSI GS QKD 014")] = None
    operator: Annotated[str | None, Parameter(help="who says so; else the user's name")] = None


_DONE = {"suspend": "suspended", "resume": "resumed", "compromise": "compromised"}


def suspend(node: NodeFile, /, *, ordered: Ordered, json: JSON = False) -> None:
    """Hold keys back at both ends until they are resumed. Of a whole stream or link: also those to
    come; its streams wait."""
    _order("suspend", node, ordered, as_json=json)


def resume(node: NodeFile, /, *, ordered: Ordered, json: JSON = False) -> None:
    """Let suspended keys be delivered again, at both ends."""
    _order("resume", node, ordered, as_json=json)


def compromise(node: NodeFile, /, *, ordered: Ordered, json: JSON = False) -> None:
    """Give keys up for lost at both ends, for good. A whole stream is closed; a whole link loses
    all its key as well, and needs another secret (kms link restart)."""
    _order("compromise", node, ordered, as_json=json)


def _fields(node: Path, ordered: Ordered) -> dict[str, object]:
    operator = ordered.operator or getpass.getuser()
    fields: dict[str, object] = {"reason": ordered.reason, "operator": operator}
    if ordered.indices is not None:
        fields["first"], fields["count"] = _range(ordered.indices)
    if ordered.link is not None:
        fields["link"] = _link_named(ordered.link, load(node).node.name)
    return {**fields, "stream": ordered.stream, "key_id": ordered.key_id}


def _link_named(text: str, here: str) -> LinkId:
    """The link to this neighbour, or of this very name, as status shows it."""
    ends = text.split("~")
    if len(ends) == 2 and here in ends:
        ends.remove(here)
    return link_id(node_id(here), node_id("~".join(ends)))


def _range(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10}))?", text)
    if found is None:
        raise LocalFault(f"{text!r:.50} names no indices", hint="give one, or FIRST-LAST: 5, 5-9")
    first = int(found[1])
    return first, int(found[2] or first) - first + 1


def _order(act: str, node: Path, ordered: Ordered, *, as_json: bool) -> None:
    fields = _fields(node, ordered)
    answer = client(node).post(f"/keys/{act}", msgspec.json.encode(fields))
    report(answer, _sentence(act, answer), as_json=as_json)


def _sentence(act: str, answer: dict[str, Any]) -> str:
    what = f"link {answer['link']}"
    if answer["key_id"] is not None:
        what = f"key {answer['key_id']} for several slaves"
    elif answer["stream"] is not None:
        what = f"stream {answer['stream']}"
        if answer["count"] is not None:
            last = answer["first"] + answer["count"] - 1
            what += f", index {last}" if answer["count"] == 1 else f", {answer['first']} to {last}"
    done = f"{what}: {'' if answer['changed'] else 'was already '}{_DONE[act]}"
    peer = "the neighbour knows" if answer["told"] else "the neighbour is told when it is there"
    if answer["key_id"] is not None:
        peer = (
            "all nodes know" if answer["told"] else "the other nodes are told when they are there"
        )
    counts = f"{answer['waiting']} undelivered keys here"
    if answer["delivered"] and act != "resume":
        counts += f"; {answer['delivered']} were delivered here before"
    return f"{done}: {counts}; {peer}"
