"""Requests: how many GET_KEY a node answers on one core, beside the bare listener on that core.

Many connections over mutual TLS ask again as soon as they are answered. The chunks were made
before. The node and the bare listener, one after the other, have the first core for themselves;
the load, and the other node, have the rest.
"""

import os
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import attrs
import msgspec
import trio

from kms.adapters import pki
from kms.adapters.edge import Answer
from kms.adapters.etsi004_http import answering
from kms.adapters.etsi004_http.openapi import PREFIX
from kms.adapters.tls import Checks, Credentials, client_context
from kms.bench import bare, creation
from kms.bench.figures import MBIT, Figure, median
from kms.bench.load import Loaded, load
from kms.bench.network import STREAMS, Network, Say, streams
from kms.bench.peer import other_end
from kms.bench.plan import Plan
from kms.domain.limits import KIB
from kms.domain.requests import KeyReply
from kms.domain.secret import Secret
from kms.domain.status import Status

NAME = "requests"
_PATH = f"{PREFIX}/get_key"
# As many as one address may have, half of them with each of two certificates.
_CONNECTIONS = 64
_CERTIFICATES = 2
_PUBLISHED_MBIT_S = 971.0
# Small chunks for some seconds.
_EACH_MAX = 8192
# The finest that the kernel says of processor time.
_TICK_S = 0.01


@attrs.frozen
class _Case:
    """What is asked for."""

    chunk_bytes: int
    media_type: str

    def each(self, plan: Plan) -> int:
        """Chunks made ahead for each stream."""
        return min(plan.requested_bytes // self.chunk_bytes, _EACH_MAX)

    def request(self, ksid: object) -> bytes:
        body = msgspec.json.encode({"Key_stream_ID": str(ksid)})
        lines = (
            f"POST {_PATH} HTTP/1.1",
            "Host: kms",
            "Content-Type: application/json",
            f"Accept: {self.media_type}",
            f"Content-Length: {len(body)}",
        )
        return "\r\n".join([*lines, "\r\n"]).encode() + body

    def answer(self) -> Answer:
        """One as the node gives it."""
        key = Secret(os.urandom(self.chunk_bytes))
        reply = KeyReply(status=Status.SUCCESS, message="", index=12_345, key=key)
        return answering.key(reply, self.media_type)

    @property
    def marker(self) -> bytes:
        """Of a success."""
        return b"kms-status: 0\r" if self.media_type == answering.OCTETS else b'"status":0,'


_CASES = (
    _Case(32, answering.JSON),
    _Case(64 * KIB, answering.OCTETS),
    _Case(64 * KIB, answering.JSON),
)


def pad_bytes(plan: Plan) -> int:
    """Agreed key that all rounds use."""
    return plan.rounds * STREAMS * sum(case.chunk_bytes * case.each(plan) for case in _CASES)


async def measure(net: Network, plan: Plan, say: Say) -> list[Figure]:
    """A row for each kind of key."""
    contexts = _contexts(net)
    return [await _row(net, plan, case, contexts, say) for case in _CASES]


async def _row(
    net: Network, plan: Plan, case: _Case, contexts: Sequence[ssl.SSLContext], say: Say
) -> Figure:
    found, floors, busy, per_cpu_s = (list[float]() for _ in range(4))
    for number in range(plan.rounds):
        what = f"{creation.size(case.chunk_bytes)}, {case.media_type}"
        say(f"GET_KEY by {_CONNECTIONS} connections, {what}, round {number + 1} of {plan.rounds}")
        node, node_cpu_s = await _node(net, plan, case, contexts)
        floor = await _bare(net, plan, case, contexts)
        found.append(node.rate)
        floors.append(floor.rate)
        per_cpu_s.append(node.answers / node_cpu_s)
        busy.append(max(each.cpu_s / each.seconds for each in (node, floor)))
    small = case.chunk_bytes < KIB
    unit = 1.0 if small else 8 * case.chunk_bytes / MBIT
    return Figure(
        name=NAME,
        what=f"GET_KEY on one core, {creation.size(case.chunk_bytes)}, {case.media_type}",
        measured=median(found) * unit,
        unit="keys/s" if small else "Mbit/s",
        floor=median(floors) * unit,
        floor_what="bare listener of ours, same load, same bytes",
        per_cpu_s=median(per_cpu_s) * unit,
        published=None if small else _PUBLISHED_MBIT_S,
        detail=f"{median(found):.0f} requests/s; the load took {median(busy):.0%} of a core",
    )


async def _node(
    net: Network, plan: Plan, case: _Case, contexts: Sequence[ssl.SSLContext]
) -> tuple[Loaded, float]:
    """What the load got of the first node, and the processor time that the node took for it."""
    async with (
        net.client(0, connections=plan.connections) as ann,
        net.client(1, connections=plan.connections) as ben,
        streams((ann, ben), net.site, case.chunk_bytes) as pairs,
    ):
        await creation.create(pairs, case.each(plan))
        asked = [case.request(pair.both[0].ksid) for pair in pairs]
        had = len(pairs) * creation.steps(case.chunk_bytes, case.each(plan))
        with _alone(net.processes.running[net.site.nodes[0].name].pid, net.others()):
            port = int(net.site.nodes[0].etsi004_url.rpartition(":")[2].partition("/")[0])
            most = case.each(plan) * len(pairs) - had
            busy = [0.0]

            def begun() -> None:
                busy[0] = net.node_cpu_s()

            got = await _loaded(port, contexts, asked, case, plan, most, begun)
            return got, max(net.node_cpu_s() - busy[0], _TICK_S)


async def _bare(
    net: Network, plan: Plan, case: _Case, contexts: Sequence[ssl.SSLContext]
) -> Loaded:
    cores = _cores()[0]
    with (
        other_end(bare.listen, net.node_credentials(0), _PATH, case.answer(), cores) as port,
        _alone(None, net.others()),
    ):
        most = case.each(plan) * STREAMS
        return await _loaded(port, contexts, [case.request("0" * 36)], case, plan, most)


async def _loaded(
    port: int,
    contexts: Sequence[ssl.SSLContext],
    asked: Sequence[bytes],
    case: _Case,
    plan: Plan,
    most: int,
    begun: Callable[[], None] = lambda: None,
) -> Loaded:
    requests = [asked[number % len(asked)] for number in range(_CONNECTIONS)]
    ask = partial(load, marker=case.marker, seconds=plan.delivered_s, answers_max=most, begun=begun)
    return await trio.to_thread.run_sync(ask, port, contexts, requests)


def _contexts(net: Network) -> list[ssl.SSLContext]:
    """One for each certificate of the first application: a node counts connections by them."""
    directory, application = net.site.ca.parent, net.site.applications[0]
    found = []
    for _ in range(_CERTIFICATES):
        issued: Credentials = pki.issue(directory, application.sae_id)
        found.append(client_context(issued, checks=Checks.URI))
    pki.issue(directory, application.sae_id)  # for everybody else
    return found


def _cores() -> tuple[set[int], set[int]]:
    """The first one, and the rest; the same one if there is no other."""
    first, *rest = sorted(os.sched_getaffinity(0))
    return {first}, set(rest or [first])


@contextmanager
def _alone(node: int | None, others: Sequence[int]) -> Iterator[None]:
    """The node has the first core for itself inside; this process and ``others`` have the rest."""
    everywhere = os.sched_getaffinity(0)
    first, rest = _cores()
    here = [os.getpid(), *others]
    try:
        for process in here:
            _put(process, rest)
        if node is not None:
            _put(node, first)
        yield
    finally:
        for process in [*here, *([] if node is None else [node])]:
            _put(process, everywhere)


def _put(process: int, cores: set[int]) -> None:
    """All threads of the process run there."""
    for thread in os.listdir(f"/proc/{process}/task"):
        os.sched_setaffinity(int(thread), cores)
