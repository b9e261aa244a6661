"""The wiring: every adapter is chosen and opened here, and nowhere else.

Theory of operation. ``wiring.beginning`` has read the configuration, and hashes the passphrase.
``run`` opens the admin socket and the operations listener, and waits until the sealer is open. Then
``shell.running`` starts, runs and stops the node on the adapters that are named here.

SIGTERM and SIGINT stop the node within ``[stop] grace_s`` plus a few seconds, whatever clients do.
SIGHUP reloads certificates, how they name applications, the network file and newly listed links.
"""

import gc
import random
import signal
import sys
from contextlib import suppress
from functools import partial

import structlog
import trio

from kms import __version__, link_secret, toml_file
from kms import config as configuration
from kms.adapters.allocator import keep_large_buffers
from kms.adapters.clock import SystemClock
from kms.adapters.entropy import OSEntropy
from kms.adapters.journal_file import FileJournal
from kms.adapters.log import configure
from kms.adapters.neighbour import Neighbour
from kms.adapters.peer_tls import TLSPeerLinks
from kms.adapters.sdn_file import SDNFile, load_network
from kms.adapters.seal import FileSealer
from kms.adapters.store_sqlite import SQLiteStore
from kms.adapters.witness_file import FileWitness
from kms.config import Config, LinkSection
from kms.domain.errors import LocalFault
from kms.domain.linkmemory import LinkSettings
from kms.domain.names import NodeId
from kms.domain.policy import Policy
from kms.domain.secret import Secret
from kms.domain.statistics import NodeState
from kms.ports.admin import CarriedSecret
from kms.ports.sdn import Network
from kms.shell.operator import Operator, sealed_status
from kms.shell.running import Parts, RunningNode, run_node
from kms.wiring.beginning import Beginning, key_file, read_passphrase
from kms.wiring.devices import devices_of
from kms.wiring.listeners import Listeners
from kms.wiring.trust import Trust

# A commit returns from the disk in half a millisecond; Python's own 5 ms would be ten times that.
SWITCH_S = 0.0005


def run(begun: Beginning) -> int:
    """Runs the node until it is told to stop. Raises ``LocalFault``."""
    config = begun.config
    network = load_network(config.network.file)
    configuration.check_network(config, network, begun.path)
    configure(level=config.log.level, form=config.log.format)
    _quicken()
    trio.run(App(begun).run, strict_exception_groups=True)
    return 0


def _quicken() -> None:
    """What was imported is never looked through for garbage, large buffers are not fetched anew,
    and a thread that comes back from the disk is let in before the event loop has done five
    milliseconds more."""
    gc.freeze()
    keep_large_buffers()
    sys.setswitchinterval(SWITCH_S)


class App:
    """One node and its adapters; the ``Hands`` of its operator, the ``Owner`` of its run."""

    def __init__(self, begun: Beginning) -> None:
        config = begun.config
        self.config, self._path, self._begun_sealer = config, begun.path, begun.sealer
        self.name = config.node.name
        self._log = structlog.get_logger().bind(node=self.name)
        self._clock, self._entropy = SystemClock(), OSEntropy()
        self._jitter = random.SystemRandom()
        self._sealer_path = key_file(config)
        self._sealer: FileSealer | None = None
        self._unsealed = trio.Event()
        self._stop = trio.Event()
        self._policy = Policy()
        self._trust = Trust(config)
        self._sdn = SDNFile(config.network.file, log=self._log)
        self._store: SQLiteStore | None = None
        self._peers: TLSPeerLinks | None = None
        self._listeners = Listeners(config, self._trust.identities)
        self._operator = Operator(
            self.name,
            hands=self,
            clock=self._clock,
            settings=self._settings,
            sealed_status=lambda: sealed_status(
                self.name, __version__, "no passphrase was given yet (kms unseal)", NodeState.SEALED
            ),
        )

    async def run(self) -> None:
        """Until ``stop``. Raises ``LocalFault`` for what the operator must mend."""
        self.config.node.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with trio.open_nursery() as nursery:
            await nursery.start(self._signals)
            await nursery.start(self._listeners.serve_admin, self._operator)
            await nursery.start(self._listeners.serve_operations, self._operator)
            async with trio.open_nursery() as opening:
                opening.start_soon(self._until_stopped, opening.cancel_scope)
                await self._unseal_at_start()
                await self._unsealed.wait()
                opening.cancel_scope.cancel()
            if not self._stop.is_set():
                await self._run_open()
            nursery.cancel_scope.cancel()
        self._log.info("stopped")

    async def _unseal_at_start(self) -> None:
        """The epoch keys are open, if the configuration says how."""
        if self._begun_sealer is not None:
            self._opened(await trio.to_thread.run_sync(self._begun_sealer.result))
        elif self.config.node.passphrase_file is not None:
            passphrase = read_passphrase(self.config.node.passphrase_file)
            await self.unseal(passphrase)
            passphrase.wipe()

    async def _until_stopped(self, scope: trio.CancelScope) -> None:
        await self._stop.wait()
        scope.cancel()

    # ---- the open node ------------------------------------------------------------------

    async def _run_open(self) -> None:
        retention = self.config.retention
        parts = Parts(
            open_journal=partial(
                FileJournal.open,
                self.config.audit_file,
                segment_bytes=retention.audit_segment_bytes,
                keep_ms=retention.audit_ms,
            ),
            open_storage=self._open_storage,
            open_witness=partial(FileWitness.open, self.config.witness_file, self.name),
            open_peers=self._open_peers,
            devices=devices_of(self.config, self._jitter),
            sdn=self._sdn,
            clock=self._clock,
            entropy=self._entropy,
            is_revoked=self._is_revoked,
            serve_applications=partial(
                self._listeners.serve_applications, self._trust.applications
            ),
            grace_s=self.config.stop.grace_s,
            retention=retention.of_streams,
        )
        settings = {link.peer: self._settings(link.peer) for link in self.config.link}
        try:
            await run_node(self.name, settings, parts=parts, owner=self, stop=self._stop)
        finally:
            self._store = None

    async def _open_storage(self) -> SQLiteStore:
        assert self._sealer is not None, "unsealed"
        directory = self.config.node.directory / "store"
        self._store = await SQLiteStore.open(directory, self._sealer, node=self.name)
        return self._store

    async def _open_peers(self) -> TLSPeerLinks:
        peers = self._peers = TLSPeerLinks(
            node=self.name,
            tls=self._trust.peers,
            jitter=self._jitter,
            neighbours=[_neighbour(link) for link in self.config.link],
            is_revoked=self._is_revoked,
        )
        listen = self.config.peer.listen
        port = await peers.listen(listen.host, listen.port)
        self._listeners.addresses["peer"] = f"{listen.host}:{port}"
        return peers

    # ---- what the running node tells (shell.running.Owner) ------------------------------

    def network_seen(self, network: Network) -> None:
        """Revocation is as in this view, for sessions that stand as well."""
        self._policy = network.policy
        if self._peers is not None:
            self._peers.recheck()

    async def opened(self, node: RunningNode) -> None:
        """The operator's commands work, and the configuration's secrets are carried."""
        self._operator.opened(node.pump, node.view, node.alarms)
        if node.pump.node.standing is None:
            # A store that is not believed does not know which secrets it used.
            await self._carry_secrets()

    def ready(self) -> None:
        """The addresses are in the log."""
        self._log.info("ready", version=__version__, **self._listeners.addresses)

    def stopping(self) -> None:
        """The node says so."""
        self._operator.stopping()
        self._log.info("stopping", grace_s=self.config.stop.grace_s)

    async def _carry_secrets(self) -> None:
        """Secrets that the configuration names are imported once, then their files erased."""
        for link in self.config.link:
            secret = self._secret_of(link)
            if secret is None or link.secret_file is None:
                continue
            if not await self._operator.carry_once(secret):
                self._log.warning("link-secret-used-before", file=str(link.secret_file))
            link_secret.erase(link.secret_file)

    def _is_revoked(self, fingerprint: str) -> bool:
        return fingerprint in self._policy.revoked

    # ---- signals ---------------------------------------------------------------------------

    async def _signals(self, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                if number != signal.SIGHUP:
                    self.stop()
                    continue
                with suppress(LocalFault):  # which is in the log
                    await self._operator.reload()

    # ---- what the operator's counter needs ----------------------------------------------

    async def unseal(self, passphrase: Secret) -> None:
        """The epoch keys are open; the first passphrase ever given makes them."""
        if self._sealer is not None:
            await self._sealer.unseal(passphrase)
            return
        if not self._sealer_path.exists():
            make = partial(FileSealer.create, self._sealer_path, passphrase)
            await trio.to_thread.run_sync(make)
            self._log.info("epoch-keys-made", file=str(self._sealer_path))
        sealer = FileSealer(self._sealer_path)
        await sealer.unseal(passphrase)
        self._opened(sealer)

    def _opened(self, sealer: FileSealer) -> None:
        """The first sealer that is open is the node's, also if two were opened at once."""
        if self._sealer is None:
            self._sealer = sealer
            self._unsealed.set()

    async def rekey(self) -> int:
        assert self._sealer is not None, "the operator's counter checks"
        assert self._store is not None, "the operator's counter checks"
        epoch = await self._sealer.rotate()
        rewrapped = await self._store.rewrap(epoch)
        if rewrapped.unreadable:
            # Lost already: their slots do not open under any key. The old keys go all the same.
            self._log.warning("unreadable-slots", count=rewrapped.unreadable, epoch=epoch)
        await self._sealer.retire(epoch)
        return epoch

    def erase_secret_files(self) -> None:
        for link in self.config.link:
            if link.secret_file is not None and link.secret_file.exists():
                link_secret.erase(link.secret_file)
                self._log.warning("link-secret-erased", file=str(link.secret_file))

    def add_neighbour(self, peer: NodeId, address: str | None) -> None:
        assert self._peers is not None, "the operator's counter checks"
        if address is None:
            self._peers.add(Neighbour(node=peer))
            return
        try:
            where = toml_file.address(address)
        except toml_file.Wrong as wrong:
            raise LocalFault(str(wrong), hint="such as --address 192.0.2.7:7443") from None
        self._peers.add(Neighbour(node=peer, host=where.host, port=where.port))

    async def reload(self) -> tuple[str, ...]:
        """As ``_reload``; a refusal is in the log, whoever asked."""
        try:
            return await self._reload()
        except LocalFault as fault:
            self._log.error("reload-refused", reason=fault.reason, hint=fault.hint)
            raise

    async def _reload(self) -> tuple[str, ...]:
        """Certificates, their names, network file, links that are new in the configuration.

        All files are read before anything of them is in force. Raises ``LocalFault`` that names
        the one at fault; nothing changed then, but that a sound network file is followed, as it
        would be without this."""
        config = configuration.load(self._path)
        trust_into_force = self._trust.prepare(config, now_ms=self._clock.now().wall_ms)
        known = {link.peer for link in self.config.link}
        await self._sdn.reload()
        fresh = [(link, self._secret_of(link)) for link in config.link if link.peer not in known]
        renewed = trust_into_force()
        changes = ["certificates and network file are as on disk"]
        if renewed:
            self._listeners.certificates_changed()
            changes.append("new connections use the new certificates")
        if config.identity != self.config.identity:
            changes.append("[identity] is in force")
        for link, secret in fresh:
            await self._add_listed(link, secret)
            changes.append(f"link to {link.peer} added")
        old, new = _fixed_parts(self.config), _fixed_parts(config)
        changes += [f"[{part}] changed: restart the node" for part in old if old[part] != new[part]]
        self.config = config
        self._log.info("reloaded", changes="; ".join(changes))
        return tuple(changes)

    def _secret_of(self, link: LinkSection) -> CarriedSecret | None:
        """The secret that the configuration names for the link, if its file is still there."""
        if link.secret_file is None or not link.secret_file.exists():
            return None
        return link_secret.read_link_secret(link.secret_file, self.name)

    async def _add_listed(self, link: LinkSection, secret: CarriedSecret | None) -> None:
        address = str(link.address) if link.address is not None else None
        await self._operator.add_link(link.peer, address, secret)
        if secret is not None and link.secret_file is not None:
            link_secret.erase(link.secret_file)

    def stop(self) -> None:
        self._stop.set()

    def _settings(self, peer: NodeId) -> LinkSettings:
        section = next(
            (each for each in self.config.link if each.peer == peer), LinkSection(peer=peer)
        )
        return LinkSettings(
            pool_bytes_max=section.pool_bytes_max,
            qber_max=section.qber_max,
            block_expiry_ms=section.block_expiry_s * 1000,
            spent_blocks=self.config.retention.spent_blocks,
        )


def _neighbour(link: LinkSection) -> Neighbour:
    if link.address is None:
        return Neighbour(node=link.peer)
    return Neighbour(node=link.peer, host=link.address.host, port=link.address.port)


def _fixed_parts(config: Config) -> dict[str, object]:
    """What only a restart changes."""
    return {
        "node": config.node,
        "etsi004": config.etsi004,
        "etsi004_tls": config.etsi004_tls,
        "etsi014": config.etsi014,
        "peer": config.peer,
        "operations": config.operations,
        "device": config.device,
        "audit": config.audit,
        "retention": config.retention,
        "witness": config.witness,
        "log": config.log,
        "stop": config.stop,
    }
