"""``kms app``: streams and keys from the command line, over each of the three interfaces."""

import base64
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from kms.adapters.pki import issue
from kms.cli import main
from kms.domain.errors import Sealed
from kms.domain.policy import Policy
from kms.ports.northbound import Overloaded
from tests.cli.app_world import A, AppWorld, B, app_world

LATER, REFUSED, NOT_GENUINE = 3, 4, 5
STREAMS = ["004", "004-tls"]


@pytest.fixture
async def world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[AppWorld]:
    async with app_world(tmp_path, capsys) as made:
        yield made


# ---- streams --------------------------------------------------------------------------------


@pytest.mark.parametrize("interface", STREAMS)
async def test_two_applications_get_the_same_keys_of_a_stream(
    world: AppWorld, interface: str
) -> None:
    speaks = ("--interface", interface)
    ksid = await world.stream(*speaks)

    ours = await world.done("alice", "get", "--ksid", ksid, "--count", 3, *speaks)
    theirs = await world.done("bob", "get", "--ksid", ksid, "--count", 3, *speaks)

    assert ours == theirs
    assert [0, 1, 2] == [key["index"] for key in ours["keys"]]
    assert [32, 32, 32] == [key["bytes"] for key in ours["keys"]]
    assert 3 == len({key["fingerprint"] for key in ours["keys"]})


async def test_opening_prints_the_ksid_alone_and_says_on_stderr_how_to_join(
    world: AppWorld,
) -> None:
    status, out, err = await world.app("alice", "open")

    ksid = out.strip()
    assert (0, 36) == (status, len(ksid))
    assert f"{B} joins with: kms app open --ksid {ksid}\n" == err
    assert (0, out, "") == await world.app("bob", "open", "--ksid", ksid)


async def test_what_was_wished_for_is_asked_for(world: AppWorld) -> None:
    rates = ("--min-bps", 1000, "--jitter", 4000)
    wishes = ("--chunk", 64, *rates, "--priority", 3, "--ttl", 60, "--metadata")

    opened = await world.done("alice", "open", *wishes)
    await world.done("bob", "open", "--ksid", opened["ksid"])
    got = await world.done("alice", "get", "--ksid", opened["ksid"])

    qos = opened["qos"]
    assert (64, 1000, 4000, 3, 60) == tuple(
        qos[name] for name in ("key_chunk_size", "min_bps", "jitter", "priority", "ttl")
    )
    assert (64, 0, 0) == tuple(got["keys"][0][name] for name in ("bytes", "age", "hops"))


async def test_a_key_is_fetched_by_its_index_and_only_once(world: AppWorld) -> None:
    ksid = await world.stream()
    got = await world.done("alice", "get", "--ksid", ksid, "--index", 5, "--count", 2)

    assert [5, 6] == [key["index"] for key in got["keys"]]
    said = await world.refused(LATER, "alice", "get", "--ksid", ksid, "--index", 6)
    assert "delivered only once" in said


async def test_a_stream_is_closed_and_gives_no_more(world: AppWorld) -> None:
    ksid = await world.stream()

    assert await world.done("alice", "close", "--ksid", ksid) == {"ksid": ksid, "closed": True}

    said = await world.refused(REFUSED, "alice", "get", "--ksid", ksid)
    assert "kms app open makes a new one" in said


async def test_an_application_alone_waits_and_is_told_what_is_missing(world: AppWorld) -> None:
    ksid = (await world.done("alice", "open", "--timeout", 50))["ksid"]

    said = await world.refused(LATER, "alice", "get", "--ksid", ksid)

    assert "kms app open --ksid" in said


# ---- keys with IDs --------------------------------------------------------------------------


async def test_keys_with_ids_are_made_by_one_and_fetched_by_the_other(world: AppWorld) -> None:
    made = await world.done("alice", "get", "--count", 20, "--size", 128)
    words = [word for key in made["keys"] for word in ("--key-id", key["key_id"])]

    fetched = await world.done("bob", "get", *words)

    assert made == fetched
    assert [16] * 20 == [key["bytes"] for key in made["keys"]]
    said = await world.refused(REFUSED, "bob", "get", *words)
    assert "not found on KME" in said


async def test_one_more_application_gets_the_keys_as_well(world: AppWorld) -> None:
    made = await world.done("alice", "get", "--count", 20, "--also", "sae:app.c")
    words = [word for key in made["keys"] for word in ("--key-id", key["key_id"])]

    assert made == await world.done("bob", "get", *words)
    assert [{"sae:app.c"}] * 20 == [each.waiting for each in world.kme.keys.values()]


async def test_no_key_left_is_a_matter_of_time(world: AppWorld) -> None:
    world.kme.empty = True

    assert "no key is left" in await world.refused(LATER, "alice", "get")


async def test_what_the_key_manager_can_never_do_is_refused_with_its_words(
    world: AppWorld,
) -> None:
    said = await world.refused(REFUSED, "alice", "get", "--size", 12)

    assert "multiple of 8" in said


# ---- showing --------------------------------------------------------------------------------


async def test_a_key_is_shown_only_where_that_is_asked_for(world: AppWorld) -> None:
    ksid = await world.stream()

    _, plain, _ = await world.app("alice", "get", "--ksid", ksid)
    shown = await world.done("bob", "get", "--ksid", ksid, "--reveal", "hex")

    key = shown["keys"][0]
    assert f"index 0  bytes 32  fingerprint {key['fingerprint']}\n" == plain
    assert 64 == len(key["key"])
    assert key["key"][:16] != key["fingerprint"]
    assert "key" not in (await world.done("bob", "get", "--ksid", ksid))["keys"][0]


async def test_base64_and_hexadecimal_are_the_same_key(world: AppWorld) -> None:
    ksid = await world.stream()

    _, one, _ = await world.app("alice", "get", "--ksid", ksid, "--reveal", "base64")
    _, other, _ = await world.app("bob", "get", "--ksid", ksid, "--reveal", "hex")

    assert base64.b64decode(one.split()[-1]) == bytes.fromhex(other.split()[-1])


async def test_a_short_key_has_no_fingerprint(world: AppWorld) -> None:
    ksid = await world.stream("--chunk", 8)

    got = await world.done("alice", "get", "--ksid", ksid)

    assert None is got["keys"][0]["fingerprint"]


async def test_keys_go_into_a_file_of_their_owner_alone(world: AppWorld, tmp_path: Path) -> None:
    ksid, file = await world.stream(), tmp_path / "key"
    words = ("--ksid", ksid, "--count", 2)

    await world.done("alice", "get", *words, "--output", file)
    shown = await world.done("bob", "get", *words, "--reveal", "hex")

    assert "".join(key["key"] for key in shown["keys"]) == file.read_bytes().hex()
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)


async def test_a_file_that_is_there_is_left_alone_and_costs_no_key(
    world: AppWorld, tmp_path: Path
) -> None:
    ksid, file = await world.stream(), tmp_path / "mine"
    file.write_text("mine")

    said = await world.refused(1, "alice", "get", "--ksid", ksid, "--output", file)

    assert "--force" in said
    assert "mine" == file.read_text()
    await world.done("alice", "get", "--ksid", ksid, "--output", file, "--force")
    assert 32 == len(file.read_bytes())
    assert [0] == [index for _, _, index in world.northbound.delivered]


async def test_keys_that_came_before_a_fault_are_not_thrown_away(
    world: AppWorld, tmp_path: Path
) -> None:
    ksid, file = await world.stream(), tmp_path / "keys"
    await world.done("alice", "get", "--ksid", ksid, "--index", 2)

    words = ("--ksid", ksid, "--index", 0, "--count", 5, "--output", file)
    status, out, err = await world.app("alice", "get", *words)

    assert (LATER, 2, 64) == (status, len(out.splitlines()), len(file.read_bytes()))
    assert "not all of 5 keys" in err


async def test_nothing_is_left_of_a_file_that_got_no_key(world: AppWorld, tmp_path: Path) -> None:
    ksid, directory = await world.stream(), tmp_path / "out"
    directory.mkdir()
    await world.done("alice", "get", "--ksid", ksid, "--index", 0)

    words = ("--ksid", ksid, "--index", 0, "--output", directory / "key")
    await world.refused(LATER, "alice", "get", *words)

    assert [] == list(directory.iterdir())


# ---- what a node refuses --------------------------------------------------------------------


async def test_policy_refuses(world: AppWorld) -> None:
    world.northbound.policy = Policy()

    assert "ask the operator" in await world.refused(REFUSED, "alice", "open")


async def test_a_rate_that_cannot_be_kept_comes_back_with_one_that_can(world: AppWorld) -> None:
    said = await world.refused(REFUSED, "alice", "open", "--min-bps", 4_000_000_000)

    assert "would be admitted: --chunk 32 --min-bps " in said


@pytest.mark.parametrize("fault", [Overloaded("too many requests", hint="wait"), Sealed()])
async def test_a_node_that_cannot_serve_now_is_a_matter_of_time(
    world: AppWorld, fault: Overloaded | Sealed
) -> None:
    ksid = await world.stream()
    world.northbound.fault = fault

    await world.refused(LATER, "alice", "get", "--ksid", ksid)


async def test_nobody_there_is_a_matter_of_time(world: AppWorld) -> None:
    said = await world.refused(LATER, "alice", "get", "--url", "https://127.0.0.1:1")

    assert "is the node running" in said


async def test_another_node_than_that_wanted_is_not_asked(world: AppWorld) -> None:
    said = await world.refused(NOT_GENUINE, "alice", "get", "--node", "mallory")

    assert "wanted kms:mallory, reached kms:alice" in said


async def test_the_address_of_another_interface_is_told(world: AppWorld) -> None:
    url = world.demo["nodes"][0]["etsi004_url"]

    await world.refused(REFUSED, "alice", "get", "--url", url)


# ---- without a demonstration ----------------------------------------------------------------


async def test_a_node_is_named_by_its_url_and_we_by_our_certificate(world: AppWorld) -> None:
    pki, (alice, bob) = world.directory / "pki", world.demo["nodes"]
    files = issue(pki, A)
    own = ("--certificate", files.certificate, "--key", files.key, "--ca", files.ca, "--peer", B)
    tls = f"tls://{alice['etsi004_tls']}"
    for url in (alice["etsi004_url"], tls):
        status, out, _ = await world.run("app", "open", "--url", url, *own)
        assert (0, 37) == (status, len(out))
    for url in (bob["etsi014_url"], f"{bob['etsi014_url']}/api/v1/keys/"):
        status, out, err = await world.run("app", "get", "--url", url, *own, "--node", "bob")
        assert (0, "key_id") == (status, out.split()[0]), err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--url URL, or --demo"),
        (["--url", "https://h"], "--certificate FILE"),
        (["--as", "alice"], "--demo DIR"),
        (["--demo", "DIR"], "--as NAME"),
        (["--demo", "DIR", "--as", "mallory"], "alice, bob"),
        (["--demo", "DIR/pki", "--as", "alice"], "kms demo --keep"),
        (["--demo", "DIR/pki/ca.pem.json", "--as", "alice"], "kms demo --keep"),
        (["--demo", "DIR", "--as", "alice", "--wait", "-1"], "seconds"),
        (["--demo", "DIR", "--as", "alice", "--wait", "nan"], "seconds"),
        (["--demo", "DIR", "--as", "alice", "--count", "0"], "1 to 100000"),
        (["--demo", "DIR", "--as", "alice", "--count", "100001"], "1 to 100000"),
        (["--demo", "DIR", "--as", "alice", "--key-id", "x"], "UUID"),
        (["--demo", "DIR", "--as", "alice", "--key-id", str(uuid4()), "--size", "8"], "--size"),
        (["--demo", "DIR", "--as", "alice", "--index", "1"], "--interface 004"),
        (["--demo", "DIR", "--as", "alice", "--interface", "004"], "--ksid"),
        (["--demo", "DIR", "--as", "alice", "--ksid", "x"], "UUID version 4"),
        (["--demo", "DIR", "--as", "alice", "--ksid", str(uuid4()), "--size", "8"], "--size"),
        (["--demo", "DIR", "--as", "alice", "--ksid", str(uuid4()), "--also", "b"], "--also"),
        (["--demo", "DIR", "--as", "alice", "--key-id", str(uuid4()), "--also", "b"], "--also"),
        (["--demo", "DIR", "--as", "alice", "--url", "ftp://h"], "--url https"),
        (
            ["--demo", "DIR", "--as", "alice", "--url", "tls://h", "--interface", "014"],
            "leave --interface out",
        ),
        (
            ["--demo", "DIR", "--as", "alice", "--url", "https://h", "--interface", "004-tls"],
            "etsi004_tls",
        ),
        (["--demo", "DIR", "--as", "alice", "--certificate", "DIR/no"], "No such file"),
        (["--demo", "DIR", "--as", "alice", "--output", "DIR"], "a file"),
        (["--demo", "DIR", "--as", "alice", "--output", "DIR/no/key"], "cannot be written"),
    ],
)
async def test_wrong_words_are_told_before_anything_is_asked(
    world: AppWorld, words: list[str], said: str
) -> None:
    words = [word.replace("DIR", str(world.directory)) for word in words]
    status, out, err = await world.run("app", "get", *words)

    assert (1, "") == (status, out), err
    assert said in err
    assert ([], []) == (world.kme.asked, world.northbound.delivered)


async def test_a_certificate_that_names_nobody_needs_a_name(world: AppWorld) -> None:
    pki = world.directory / "pki"
    files = issue(pki, A)
    words = ("--url", "https://127.0.0.1:1", "--key", files.key, "--ca", files.ca, "--peer", B)
    (pki / "empty.pem").write_text("")
    (pki / "bad.pem").write_text("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n")
    for name, said in (("ca.pem", "names 0"), ("empty.pem", "PEM"), ("bad.pem", "names 0")):
        status, _, err = await world.run("app", "get", *words, "--certificate", pki / name)
        assert (1, True) == (status, said in err), err


async def test_a_demonstration_that_does_not_serve_014_says_what_it_does(world: AppWorld) -> None:
    demo = json.loads((world.directory / "demo.json").read_text())
    for node in demo["nodes"]:
        del node["etsi014_url"]
    (world.directory / "demo.json").write_text(json.dumps(demo))

    assert "one of: 004, 004-tls" in await world.refused(1, "alice", "get")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"ca":1}', "[" * 100_000, "\x00"])
def test_a_demonstrations_file_that_is_none_is_told(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "demo.json").write_text(text)

    assert main(["app", "open", "--demo", str(tmp_path), "--as", "alice"]) == 1

    assert "does not read" in capsys.readouterr().err
