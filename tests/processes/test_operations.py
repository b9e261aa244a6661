"""What a node shows of itself: health, metrics, status; and never a key, anywhere."""

import base64
import json
import re
from pathlib import Path

from tests.processes.http import GET, post
from tests.processes.network import ALICE, BOB, RealNetwork
from tests.processes.test_faults import _pair


def test_health_and_metrics_follow_the_node_through_a_bad_hour(network: RealNetwork) -> None:
    """Ready, then degraded without its device, then ready."""
    ready = network.operations(ALICE, "/health")
    metrics = network.operations(ALICE, "/metrics")[1]
    network.kill("device-alice")
    network.until("alice misses her device", lambda: not network.ready(ALICE))
    degraded = network.operations(ALICE, "/health")
    without = network.operations(ALICE, "/metrics")[1]
    network.start("device-alice")
    network.until_ready()

    assert (200, {"state": "ready", "why": []}) == (ready[0], json.loads(ready[1]))
    assert (200, "degraded") == (degraded[0], json.loads(degraded[1])["state"])
    assert "device-alice" in " ".join(json.loads(degraded[1])["why"])
    assert 'kms_state{state="ready"} 1.0' in metrics
    assert 'kms_state{state="degraded"} 1.0' in without
    assert 'kms_link_up{link="alice~bob"} 1.0' in metrics
    for name in ("kms_link_rate_in_bps", "kms_keys_delivered_total", "kms_get_key_seconds_count"):
        assert re.search(rf"^{name}\b", metrics, re.MULTILINE), name


def test_status_shows_links_devices_and_streams_to_a_person(network: RealNetwork) -> None:
    ksid = _pair(network, Key_chunk_size=32)
    done = network.cli("status", network.node(ALICE).config)
    shown = done.stdout.decode()

    assert done.returncode == 0, done.stderr
    assert "alice ready" in shown
    assert "up, epoch" in shown
    assert "device-alice" in shown
    assert ksid in shown
    assert "audit head" in shown


def test_the_journal_verifies_while_the_node_runs_and_knows_its_head(network: RealNetwork) -> None:
    status = network.status(BOB)
    head = f"{status.journal_number}:{status.journal_hash}"
    done = network.cli("audit", "verify", network.node(BOB).config, "--head", head, "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["whole"]


def test_no_delivered_key_is_in_any_file_log_or_status(network: RealNetwork) -> None:
    """Raw, in hexadecimal, in base64: not in the site's directory, not in what is shown. What waits
    to be wiped is sealed, so this holds at once."""
    ksid = _pair(network, Key_chunk_size=32)
    keys = []
    for index in range(5):
        for name in (ALICE, BOB):
            answer = post(network, name, GET, {"Key_stream_ID": ksid, "index": index}).members
            keys.append(base64.b64decode(answer["Key_buffer"]))
    forms = {form for key in set(keys) for form in _forms(key)}
    shown = [
        network.cli("status", network.node(name).config, *words).stdout
        for name in (ALICE, BOB)
        for words in ((), ("--json",))
    ]
    shown += [
        network.operations(name, path)[1].encode()
        for name in (ALICE, BOB)
        for path in ("/health", "/metrics")
    ]
    files = {path: _content(path) for path in network.site.directory.rglob("*")}
    places = [*files.items(), *((Path("shown"), text) for text in shown)]
    found = [path for path, content in places for form in forms if form in content]

    assert len(keys) == 2 * len(set(keys))
    assert len([path for path in files if path.suffix == ".log"]) >= 4
    assert found == []


def _forms(key: bytes) -> list[bytes]:
    """Half a key is enough to find it; base64 of the whole, without its end."""
    return [
        key[:16],
        key[16:],
        key.hex().encode()[:32],
        key.hex().upper().encode()[:32],
        base64.b64encode(key)[:24],
        base64.urlsafe_b64encode(key)[:24],
    ]


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
