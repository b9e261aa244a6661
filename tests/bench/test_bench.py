"""The bench measures, says what it promises to say, and leaves nothing behind."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio

from kms.bench import main, tunnel
from kms.bench.figures import Figure, Machine, Report
from kms.bench.peer import other_end
from kms.bench.plan import QUICK
from kms.bench.tunnel import opened_window
from kms.bench.two_nodes import ANN, TwoNodes
from kms.cli import main as command
from kms.domain.effects import DeliverKey
from kms.domain.errors import LocalFault
from kms.domain.limits import KIB, MIB
from kms.domain.requests import GetKey
from kms.domain.status import QoS

TINY = attrs.evolve(
    QUICK,
    agreed_s=0.2,
    tunnel_bytes=8 * tunnel.PART_BYTES,
    created_bytes={KIB: 64 * KIB},
    delivered_s=1.0,
    step_s=0.002,
    requested_bytes=512 * KIB,
)


@pytest.fixture
def own_tmp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the bench makes its directory: empty again when it is done. Its name is short, for the
    path of a unix socket is bounded."""
    with tempfile.TemporaryDirectory(prefix="b") as path:
        monkeypatch.setattr(tempfile, "tempdir", path)
        yield Path(path)


def measure(*names: str) -> Report:
    return main.measure(TINY, frozenset(names), lambda said: None, quick=True)


def test_the_steps_have_a_cost_each_and_leave_no_file(own_tmp: Path) -> None:
    report = measure("steps")

    assert [each.unit for each in report.figures] == ["Mbit/s"] + ["us"] * 8
    assert all(each.measured > 0 for each in report.figures)
    assert list(own_tmp.iterdir()) == []


@pytest.mark.slow
@pytest.mark.processes
def test_two_real_nodes_are_measured_against_floors_and_leave_no_file(own_tmp: Path) -> None:
    report = measure("agreed", "tunnel", "creation", "delivery")

    rows = {each.name: each for each in report.figures}
    assert ["machine", "agreed", "creation", "delivery", "tunnel"] == list(rows)
    compared = [each for each in report.figures if each.name != "machine"]
    assert all(each.measured > 0 and each.floor and each.floor_what for each in compared)
    assert all(each.published for each in compared)
    assert list(own_tmp.iterdir()) == []


@pytest.mark.slow
@pytest.mark.processes
def test_many_connections_are_measured_beside_the_bare_listener(own_tmp: Path) -> None:
    report = measure("requests")

    _, *figures = report.figures
    small, large = "keys/s", "Mbit/s"
    assert [small, large, large, small, small, large] == [each.unit for each in figures]
    assert all(each.measured > 0 and each.floor and each.per_cpu_s for each in figures)
    assert list(own_tmp.iterdir()) == []


def test_the_json_has_the_documented_fields() -> None:
    figure = Figure(name="agreed", what="it", measured=50.0, unit="Mbit/s", floor=200.0)
    machine = Machine(cpus=2, cpu="c", python="3", sqlite="3", version="0", revision="")
    report = Report(machine=machine, quick=True, block_bytes=MIB, figures=(figure,), seconds=1.0)

    read = json.loads(json.dumps(report.fields()))

    assert set(read) == {"machine", "quick", "block_bytes", "seconds", "figures"}
    assert set(read["machine"]) == {"cpus", "cpu", "python", "sqlite", "version", "revision"}
    assert set(read["figures"][0]) == {
        "name",
        "what",
        "measured",
        "unit",
        "floor",
        "floor_what",
        "published",
        "per_cpu_s",
        "detail",
        "share",
    }
    assert read["figures"][0]["share"] == 0.25


def test_a_scenario_that_does_not_exist_is_refused_with_the_names_of_those_that_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = command(["bench", "--quick", "--only", "nothing"])

    assert status == 1
    assert "agreed, tunnel, creation, delivery, requests, steps" in capsys.readouterr().err


def test_both_ends_of_the_tunnel_have_the_same_pad_and_use_it_once() -> None:
    one, other = (opened_window(b"seed", 16) for _ in range(2))
    offset, bits = one.take(5000)

    assert offset == 0
    assert other.peek(offset, 5000) == bits
    assert one.peek(offset, 5000) is None


def refuses_to_start(connection: object) -> None:
    """The body of a process: ends before it said its port."""


async def test_an_end_that_does_not_start_is_a_fault_and_not_a_wait() -> None:
    with trio.fail_after(30), pytest.raises(LocalFault), other_end(refuses_to_start):
        pass


def test_two_nodes_in_memory_deliver_what_they_made_ready() -> None:
    nodes = TwoNodes()
    ksid = nodes.stream(QoS(key_chunk_size=32))
    nodes.make_ready(ksid, 16)

    answer = nodes.ask(ANN, GetKey(ksid=ksid))

    assert isinstance(answer, DeliverKey)
    assert answer.length == 32
