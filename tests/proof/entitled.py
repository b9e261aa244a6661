"""The model of the policy: who may have which key, on which interface (I3).

Rules: ``Cases`` says from the tables of ``people``, not from the nodes' code, what must come of a
request: no answer at all, a refusal, or a status; and whether a key may be in it. It is the same
model for every interface, since a stream (ETSI GS QKD 004) and keys with IDs (014) are given to the
same pairs; only what is asked for differs. Of a key with an ID the model knows what the master was
answered: the slave may have it, once.
"""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import attrs

from kms.domain.names import KSID, NodeId, SAEId
from kms.domain.status import Status
from tests.proof.people import (
    DIRECTORY,
    FAY,
    FORBIDDEN,
    NAMES,
    PAIRS,
    RULES,
    Certificate,
)
from tests.world import ALICE, BOB

STREAMS: Final = (
    KSID(UUID("0c7d2c66-3f10-4f0e-8d0b-0f5a2d3f1b01")),
    KSID(UUID("1b1f6a52-8c34-4a9d-a7c5-5f8e0c9d2b02")),
)
NOWHERE: Final = KSID(UUID("6a9c2b51-3a0e-4a53-9d10-6a4f2f0b7c11"))
FAST_004, SLOW_004, FRAMES_004 = "004 over HTTP", "004 over HTTP, the slow way", "004 in frames"
FAST_014, SLOW_014 = "014", "014, the slow way"
INTERFACES: Final = (FAST_004, SLOW_004, FRAMES_004, FAST_014, SLOW_014)
SERVED: Final = "served"
BAD_REQUEST: Final = "HTTP 400"


def status(which: Status) -> str:
    """In the words of ``Case.expected``."""
    return SERVED if which is Status.SUCCESS else f"status {int(which)}"


@attrs.frozen(kw_only=True)
class Case:
    """One request of somebody, and what must come of it."""

    certificate: Certificate
    node: NodeId
    interface: str
    function: str
    body: dict[str, object]
    """members of the request; of 014 also ``other``, whom its URL names"""
    expected: str
    key: tuple[object, object] | None = None
    """the key that is to be delivered: stream and index, or what of 014, and its ID (None: a new
    one)"""
    octets: bool = False

    def __str__(self) -> str:
        words = " ".join(f"{name} {value}" for name, value in self.body.items())
        return f"{self.certificate.kind} at {self.node}, {self.interface}: {self.function} {words}"


@attrs.frozen(kw_only=True)
class Issued:
    """A key with an ID that its master has."""

    key_id: str
    master: SAEId
    slave: SAEId


WITH_ID: Final = "with an ID"


@attrs.define
class Cases:
    """Draws cases."""

    choice: random.Random
    certificates: Sequence[Certificate]
    waiting: list[Issued] = attrs.Factory(list)
    """keys that their slaves have not asked for"""
    fetched: list[Issued] = attrs.Factory(list)
    """keys that both have"""
    _next: Counter[tuple[int, NodeId]] = attrs.Factory(Counter)

    def draw(self) -> Case:
        certificate = self.choice.choice(self.certificates)
        node = self.choice.choice((ALICE, BOB))
        if certificate.name in DIRECTORY and self.choice.random() < 0.5:
            node = DIRECTORY[certificate.name]
        interface = self.choice.choice(INTERFACES)
        if interface in (FAST_014, SLOW_014):
            ask = self.choice.choice((self._enc_keys, self._dec_keys))
        else:
            functions = (self._get_key, self._open_connect, self._close)
            ask = self.choice.choices(functions, (6, 3, 1))[0]
        return ask(certificate, node, interface)

    def own_key(self, certificate: Certificate, interface: str) -> Case:
        """The next key of the caller's own, at his own node: one that waits for him, if he may."""
        name = certificate.name
        assert name is not None, "somebody who is known"
        pair = next(n for n, names in enumerate(PAIRS) if name in names)
        if interface in (FAST_014, SLOW_014):
            mine = next((each for each in self.waiting if each.slave == name), None)
            if mine is not None:
                return self._fetch(certificate, DIRECTORY[name], interface, mine)
            (slave,) = PAIRS[pair] - {name}
            return self._enc_keys_for(certificate, DIRECTORY[name], interface, slave)
        return self._key_of(certificate, DIRECTORY[name], interface, pair)

    # ---- ETSI GS QKD 004 ------------------------------------------------------------------

    def _get_key(self, certificate: Certificate, node: NodeId, interface: str) -> Case:
        pair = self.choice.choice((0, 1, None))
        if pair is None:
            body: dict[str, object] = {"Key_stream_ID": str(NOWHERE)}
            expected = status(Status.PEER_NOT_CONNECTED)
            return self._case(certificate, node, interface, "get_key", body, expected)
        return self._key_of(certificate, node, interface, pair)

    def _key_of(self, certificate: Certificate, node: NodeId, interface: str, pair: int) -> Case:
        name = certificate.name
        body: dict[str, object] = {"Key_stream_ID": str(STREAMS[pair])}
        own = name in PAIRS[pair] and DIRECTORY.get(name or FAY) == node
        if not own:
            # With an index and without one.
            body |= self.choice.choice(({}, {"index": self._next[pair, node] + 1}))
            expected = status(Status.PEER_NOT_CONNECTED)
            return self._case(certificate, node, interface, "get_key", body, expected)
        index = self._next[pair, node]
        self._next[pair, node] += 1
        body["index"] = index
        return self._case(certificate, node, interface, "get_key", body, SERVED, (pair, index))

    def _open_connect(self, certificate: Certificate, node: NodeId, interface: str) -> Case:
        """Joining a stream again, or opening one that nobody is to have."""
        source, destination = self.choice.sample(NAMES, 2)
        pair = self.choice.choice((0, 1))
        if self.choice.random() < 0.5:
            source, destination = self.choice.choice((RULES[pair], RULES[pair][::-1]))
        body: dict[str, object] = {
            "source": source,
            "destination": destination,
            "Key_stream_ID": str(STREAMS[pair]),
        }
        name = certificate.name
        here = name is not None and DIRECTORY.get(name) == node
        named, asked = name in (source, destination), frozenset((source, destination))
        expected = FORBIDDEN
        if here and named and asked in PAIRS:
            expected = status(Status.SUCCESS if asked == PAIRS[pair] else Status.KSID_IN_USE)
        return self._case(certificate, node, interface, "open_connect", body, expected)

    def _close(self, certificate: Certificate, node: NodeId, interface: str) -> Case:
        """Of a stream of somebody else, or of nobody."""
        mine = [n for n, names in enumerate(PAIRS) if certificate.name in names]
        foreign = [ksid for n, ksid in enumerate(STREAMS) if n not in mine]
        body: dict[str, object] = {"Key_stream_ID": str(self.choice.choice([*foreign, NOWHERE]))}
        expected = status(Status.PEER_NOT_CONNECTED)
        return self._case(certificate, node, interface, "close", body, expected)

    # ---- ETSI GS QKD 014 ------------------------------------------------------------------

    def _enc_keys(self, certificate: Certificate, node: NodeId, interface: str) -> Case:
        name = certificate.name
        partners = [next(iter(pair - {name})) for pair in PAIRS if name in pair]
        others = [each for each in NAMES if each != name]
        slave = self.choice.choice(partners if self.choice.random() < 0.5 and partners else others)
        return self._enc_keys_for(certificate, node, interface, slave)

    def _enc_keys_for(
        self, certificate: Certificate, node: NodeId, interface: str, slave: SAEId
    ) -> Case:
        name = certificate.name
        body: dict[str, object] = {"other": slave}
        here = name is not None and DIRECTORY.get(name) == node
        if here and frozenset((name, slave)) in PAIRS:
            key = (WITH_ID, None)
            return self._case(certificate, node, interface, "enc_keys", body, SERVED, key)
        return self._case(certificate, node, interface, "enc_keys", body, FORBIDDEN)

    def _dec_keys(self, certificate: Certificate, node: NodeId, interface: str) -> Case:
        """A key of the caller's, of others', one that was fetched before, or none."""
        name = certificate.name
        mine = [each for each in self.waiting if each.slave == name]
        some = self.choice.choice((mine, self.waiting, self.fetched, [])) or self.fetched
        masters = [each for each in NAMES if each != name]
        if not some or self.choice.random() < 0.1:
            # No caller is another's slave for an ID that nobody ever heard of.
            body = {"other": self.choice.choice(masters), "key_ID": str(NOWHERE)}
            known = name is not None and DIRECTORY.get(name) == node
            expected = BAD_REQUEST if known else FORBIDDEN
            return self._case(certificate, node, interface, "dec_keys", body, expected)
        issued = self.choice.choice(some)
        master = issued.master
        if master == name or self.choice.random() < 0.1:
            master = self.choice.choice(masters)
        body = {"other": master, "key_ID": issued.key_id}
        if name != issued.slave or DIRECTORY[name] != node:
            return self._case(certificate, node, interface, "dec_keys", body, FORBIDDEN)
        if master != issued.master or issued not in self.waiting:
            return self._case(certificate, node, interface, "dec_keys", body, BAD_REQUEST)
        return self._fetch(certificate, node, interface, issued)

    def _fetch(
        self, certificate: Certificate, node: NodeId, interface: str, issued: Issued
    ) -> Case:
        body: dict[str, object] = {"other": issued.master, "key_ID": issued.key_id}
        key = (WITH_ID, issued.key_id)
        case = self._case(certificate, node, interface, "dec_keys", body, SERVED, key)
        if case.key:
            self.waiting.remove(issued)
        return case

    def answered(self, case: Case, key_id: str) -> None:
        """The key with this ID was delivered."""
        name, other = case.certificate.name, case.body["other"]
        assert name is not None, "somebody who is known"
        if case.function == "enc_keys":
            self.waiting.append(Issued(key_id=key_id, master=name, slave=SAEId(str(other))))
        else:
            self.fetched.append(Issued(key_id=key_id, master=SAEId(str(other)), slave=name))

    def _case(
        self,
        certificate: Certificate,
        node: NodeId,
        interface: str,
        function: str,
        body: dict[str, object],
        expected: str,
        key: tuple[object, object] | None = None,
    ) -> Case:
        if certificate.refused:
            expected, key = certificate.refused, None
        octets = function == "get_key" and self.choice.random() < 0.5
        return Case(
            certificate=certificate,
            node=node,
            interface=interface,
            function=function,
            body=body,
            expected=expected,
            key=key,
            octets=octets and interface != FRAMES_004,
        )
