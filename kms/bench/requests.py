"""Requests: how many a node answers on one core, beside the bare listener on that core.

Many connections over mutual TLS ask again as soon as they are answered. The node and the bare
listener, one after the other, have the first core for themselves; the load, and the other node,
have the rest.
"""

import itertools
import os
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import trio

from kms.adapters import pki
from kms.adapters.tls import Checks, Credentials, client_context
from kms.bench import bare, get_key, keys_with_ids
from kms.bench.asking import CONNECTIONS, Asking, Case
from kms.bench.figures import MBIT, Figure, median
from kms.bench.load import Loaded, load
from kms.bench.network import Network, Say
from kms.bench.peer import other_end
from kms.bench.plan import Plan
from kms.domain.limits import KIB

NAME = "requests"
_CERTIFICATES = 2
_PUBLISHED_MBIT_S = 971.0
# The finest that the kernel says of processor time.
_TICK_S = 0.01
_CASES: tuple[Case, ...] = (*get_key.CASES, *keys_with_ids.CASES)


def pad_bytes(plan: Plan) -> int:
    """Agreed key that all rounds use."""
    return plan.rounds * sum(case.pad_bytes(plan) for case in _CASES)


async def measure(net: Network, plan: Plan, say: Say) -> list[Figure]:
    """A row for each kind of request."""
    contexts = _contexts(net)
    return [await _row(net, plan, case, contexts, say) for case in _CASES]


async def _row(
    net: Network, plan: Plan, case: Case, contexts: Sequence[ssl.SSLContext], say: Say
) -> Figure:
    found, floors, busy, per_cpu_s = (list[float]() for _ in range(4))
    for number in range(plan.rounds):
        say(f"{case.what} by {CONNECTIONS} connections, round {number + 1} of {plan.rounds}")
        node, node_cpu_s = await _node(net, plan, case, contexts)
        floor = await _bare(net, plan, case, contexts)
        found.append(node.rate)
        floors.append(floor.rate)
        per_cpu_s.append(node.answers / node_cpu_s)
        busy.append(max(each.cpu_s / each.seconds for each in (node, floor)))
    small = case.key_bytes < KIB
    unit = 1.0 if small else 8 * case.key_bytes / MBIT
    return Figure(
        name=NAME,
        what=f"{case.what}, on one core",
        measured=median(found) * unit,
        unit="keys/s" if small else "Mbit/s",
        floor=median(floors) * unit,
        floor_what="bare listener of ours, same load, same bytes",
        per_cpu_s=median(per_cpu_s) * unit,
        published=None if small else _PUBLISHED_MBIT_S,
        detail=f"{median(found):.0f} requests/s; the load took {median(busy):.0%} of a core",
    )


async def _node(
    net: Network, plan: Plan, case: Case, contexts: Sequence[ssl.SSLContext]
) -> tuple[Loaded, float]:
    """What the load got of the first node, and the processor time that the node took for it."""
    async with case.ready(net, plan) as asking:
        with _alone(net.processes.running[net.site.nodes[0].name].pid, net.others()):
            port = int(asking.url.rpartition(":")[2])
            busy = [0.0]

            def begun() -> None:
                busy[0] = net.node_cpu_s()

            got = await _loaded(port, contexts, asking, case, plan, begun)
            return got, max(net.node_cpu_s() - busy[0], _TICK_S)


async def _bare(net: Network, plan: Plan, case: Case, contexts: Sequence[ssl.SSLContext]) -> Loaded:
    cores = _cores()[0]
    with (
        other_end(bare.listen, net.node_credentials(0), case.line, case.answer(), cores) as port,
        _alone(None, net.others()),
    ):
        again = itertools.repeat(case.request())
        asking = Asking("", [again] * CONNECTIONS, case.answers_max(plan))
        return await _loaded(port, contexts, asking, case, plan)


async def _loaded(
    port: int,
    contexts: Sequence[ssl.SSLContext],
    asking: Asking,
    case: Case,
    plan: Plan,
    begun: Callable[[], None] = lambda: None,
) -> Loaded:
    ask = partial(
        load,
        marker=case.marker,
        seconds=plan.delivered_s,
        answers_max=asking.answers_max,
        begun=begun,
    )
    return await trio.to_thread.run_sync(ask, port, contexts, asking.requests)


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
