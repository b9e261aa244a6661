"""What goes wrong around a node while applications read: they go on afterwards, with equal keys."""

import re
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from kms.client import QoS
from tests.processes.http import GET, OPEN, began, post
from tests.processes.network import ALICE, BOB, RealNetwork
from tests.processes.readers import Ledger, equal, progress, reads

QOS = QoS(key_chunk_size=64, timeout=1_000)
ANN, BEN = "sae:app.alice", "sae:app.bob"


@asynccontextmanager
async def reading(network: RealNetwork) -> AsyncIterator[tuple[Ledger, Ledger]]:
    """Both applications read inside; at the end their keys are equal."""
    here, there = Ledger(), Ledger()
    async with network.client(ALICE) as ann, network.client(BOB) as ben:
        opened = await ann.open(source=ANN, destination=BEN, qos=QOS)
        joined = await ben.join(opened.ksid, source=BEN, destination=ANN)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reads, opened, here)
            nursery.start_soon(reads, joined, there)
            await progress(here, there, 5)
            yield here, there
            nursery.cancel_scope.cancel()
        equal(here, there)
        await opened.close()
        await joined.close()


@pytest.mark.parametrize("victim", ["device-alice", BOB])
async def test_one_process_killed_and_restarted_costs_no_key_twice(
    network: RealNetwork, victim: str
) -> None:
    async with reading(network) as (here, there):
        await trio.to_thread.run_sync(network.kill, victim)
        await network.until_in_time("somebody misses it", lambda: not network.ready())
        network.start(victim)
        await network.until_in_time("ready again", network.ready)
        await progress(here, there, 20)


async def test_a_node_frozen_beyond_the_heartbeat_is_missed_and_comes_back(
    network: RealNetwork,
) -> None:
    async with reading(network) as (here, there):
        before = network.status(ALICE).links[0].connects_total
        network.signal(BOB, signal.SIGSTOP)
        await network.until_in_time(
            "alice misses the frozen one", lambda: not network.status(ALICE).links[0].connected
        )
        network.signal(BOB, signal.SIGCONT)
        await network.until_in_time("ready again", network.ready)
        await progress(here, there, 20)

        assert network.status(ALICE).links[0].connects_total > before


def _pair(network: RealNetwork, **qos: object) -> str:
    """A stream that both applications have opened."""
    opened = post(network, ALICE, OPEN, {"source": ANN, "destination": BEN, "QoS": qos})
    ksid = str(opened.members["Key_stream_ID"])
    joined = post(network, BOB, OPEN, {"source": BEN, "destination": ANN, "Key_stream_ID": ksid})
    assert joined.members["status"] == 0, joined
    return ksid


def _fds(network: RealNetwork, name: str) -> float:
    found = re.search(r"^process_open_fds (\S+)$", network.operations(name, "/metrics")[1], re.M)
    assert found is not None
    return float(found[1])


def test_clients_that_hang_up_while_they_wait_leave_nothing_behind(network: RealNetwork) -> None:
    """A stream of one key in half a minute; ten callers wait for keys to come, and go."""
    ksid = _pair(network, Key_chunk_size=64, Max_bps=16, Timeout=60_000)
    before = _fds(network, ALICE)
    callers = [
        began(network, ALICE, GET, {"Key_stream_ID": ksid, "index": 50 + n}) for n in range(10)
    ]
    network.until("ten wait", lambda: network.stream(ALICE, ksid).waiting == 10)
    for caller in callers:
        caller.close()
    network.until("nobody waits", lambda: network.stream(ALICE, ksid).waiting == 0)
    network.until("their sockets are closed", lambda: _fds(network, ALICE) <= before)

    assert network.stream(ALICE, ksid).delivered == 0


def test_a_client_that_hangs_up_before_its_answer_loses_at_most_that_key(
    network: RealNetwork,
) -> None:
    """Twenty requests, half of which nobody hears answered: each index comes once at most."""
    ksid = _pair(network, Key_chunk_size=64, Timeout=5_000)
    heard = []
    for number in range(20):
        if number % 2:
            began(network, ALICE, GET, {"Key_stream_ID": ksid}).close()
        else:
            answer = post(network, ALICE, GET, {"Key_stream_ID": ksid}).members
            assert answer["status"] == 0, answer
            heard.append((answer["index"], answer["Key_buffer"]))
    theirs = {
        index: post(network, BOB, GET, {"Key_stream_ID": ksid, "index": index}).members[
            "Key_buffer"
        ]
        for index, _ in heard
    }

    assert len(theirs) == len(heard)
    assert theirs == dict(heard)
    assert max(theirs) < 20


def _slow(network: RealNetwork, ksid: str) -> Callable[[], None]:
    """Clients that make a stop slow: one waits for a key, one does not read, one does not end
    its request. Returns what lets them go."""
    waits = began(network, ALICE, GET, {"Key_stream_ID": ksid, "index": 60})
    unread = began(network, ALICE, GET, {"Key_stream_ID": ksid})
    half = began(network, ALICE, GET, {"Key_stream_ID": ksid})
    half.sendall(b"POST /etsi004/v2.1.1/get_key HTTP/1.1\r\nHost: node\r\nContent-Le")

    def go() -> None:
        for each in (waits, unread, half):
            each.close()

    return go


def test_sigterm_stops_in_time_whatever_clients_do(network: RealNetwork) -> None:
    ksid = _pair(network, Key_chunk_size=64, Max_bps=16, Timeout=60_000)
    go = _slow(network, ksid)
    network.until("one waits", lambda: network.stream(ALICE, ksid).waiting >= 1)
    asked = time.monotonic()
    network.signal(ALICE, signal.SIGTERM)
    status = network.ended(ALICE)
    took_s = time.monotonic() - asked
    go()
    network.start(ALICE)
    network.until_ready()

    assert status == 0
    # [stop] grace_s is 5; the rest is for devices, neighbours, the store, and a busy machine.
    assert took_s < 5 + 10
    assert "Traceback" not in network.log(ALICE)


def test_kms_stop_stops_too(network: RealNetwork) -> None:
    done = network.cli("stop", network.node(BOB).config)
    status = network.ended(BOB)
    network.start(BOB)
    network.until_ready()

    assert (done.returncode, status) == (0, 0)
