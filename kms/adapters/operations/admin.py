"""The operator's commands, over the unix socket in the state directory.

Rules: the mode of the socket decides who may call; nothing here checks again. A passphrase or a
secret is wiped as soon as the node has it. Every command is one POST; its answer comes when the
command is done, except ``stop``, which answers that it has begun.
"""

from http import HTTPStatus

import msgspec
from quart import Response, request
from quart_trio import QuartTrio

from kms import link_secret
from kms.adapters.edge.bounds import Bounds
from kms.adapters.operations import key_orders, status_json
from kms.adapters.operations.answers import answer, refuse_in_json
from kms.domain import limits
from kms.domain.errors import AppFault
from kms.domain.names import link_id, node_id
from kms.domain.records import Way
from kms.domain.secret import Secret
from kms.ports.admin import Admin
from kms.toml_file import Wrong, address

ADMIN_BOUNDS = Bounds(body_bytes_max=limits.ADMIN_BODY_BYTES_MAX, connections_max=16)
"""For the edge: a link secret is larger than anything an application sends."""

_NONE = msgspec.Raw(b"null")


class _AddLink(msgspec.Struct, forbid_unknown_fields=True):
    peer: str
    address: str | None = None
    secret: msgspec.Raw = _NONE


def admin_app(admin: Admin) -> QuartTrio:
    """The application; it has no state of its own."""
    app = QuartTrio("kms.admin", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = limits.ADMIN_BODY_BYTES_MAX
    refuse_in_json(app)

    @app.get("/status")
    async def status() -> Response:
        data = status_json.encode(admin.status())
        return Response(data, content_type="application/json")

    @app.post("/unseal")
    async def unseal() -> Response:
        passphrase = Secret(await _body())
        try:
            if not 0 < len(passphrase) <= limits.PASSPHRASE_BYTES_MAX:
                raise AppFault(
                    "no passphrase, or too long a one",
                    hint=f"give 1 to {limits.PASSPHRASE_BYTES_MAX} bytes",
                )
            await admin.unseal(passphrase)
        finally:
            passphrase.wipe()
        return answer({"state": admin.status().state.value})

    @app.post("/rekey")
    async def rekey() -> Response:
        return answer({"epoch": await admin.rekey()})

    @app.post("/link/add")
    async def add_link() -> Response:
        wanted = _add_link(await _body())
        node = admin.status().node
        peer = node_id(wanted.peer)
        link_id(node, peer)
        secret = None
        if wanted.secret != _NONE:
            secret = link_secret.decode(bytes(wanted.secret), node)
        if secret is not None and peer not in secret.nodes:
            secret.bits.wipe()
            raise AppFault(
                f"the secret is for {'~'.join(secret.nodes)}, not for a link to {peer}",
                hint="take the file of this link",
            )
        await admin.add_link(peer, wanted.address, secret)
        return answer({"peer": peer, "bootstrapped": secret is not None})

    @app.post("/link/restart")
    async def restart_link() -> Response:
        secret = link_secret.decode(await _body(), admin.status().node)
        await admin.restart_link(secret)
        return answer({"link": "~".join(secret.nodes), "secret_id": secret.secret_id})

    @app.post("/restore")
    async def restore() -> Response:
        said = await _body()
        found = next((each for each in Way if each.value.encode() == said), None)
        if found is None:
            raise AppFault("no such way", hint=f"give one of {[each.value for each in Way]}")
        await admin.restore(found)
        return answer({"way": found.value, "state": admin.status().state.value})

    @app.post("/keys/<act>")
    async def order_keys(act: str) -> Response:
        done, told = await admin.order_keys(key_orders.read(act, await _body()))
        return answer(key_orders.answered(done, told=told))

    @app.post("/reload")
    async def reload() -> Response:
        return answer({"changed": list(await admin.reload())})

    @app.post("/stop")
    async def stop() -> Response:
        await admin.stop()
        return answer({"state": "stopping"}, HTTPStatus.ACCEPTED)

    return app


async def _body() -> bytes:
    # Quart types the body as text or bytes; without as_text it is bytes.
    return bytes(await request.get_data(cache=False))  # type: ignore[arg-type]


def _add_link(data: bytes) -> _AddLink:
    try:
        wanted = msgspec.json.decode(data, type=_AddLink)
        if wanted.address is not None:
            address(wanted.address)
    except (msgspec.DecodeError, RecursionError) as error:
        # Only its kind: the text may quote the secret.
        raise AppFault(
            f"no such command: {type(error).__name__}", hint="give peer, address, secret"
        ) from None
    except Wrong as error:
        raise AppFault(str(error), hint="give the address where the neighbour listens") from None
    return wanted
