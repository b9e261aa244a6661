"""A node that stands: it found its store old, or cannot tell, and waits for its operator.

Rules: nothing is written and no key moves; whoever asks is answered, with the reason. Applications
get NO_QKD_CONNECTION, INSUFFICIENT_KEY for GET_KEY, UNAVAILABLE for keys with IDs; devices keep
their blocks; neighbours are refused by name (``Greeting``). What the network view says is kept for
the time after.
"""

from kms.domain.effects import Answer, BlockStored
from kms.domain.events import (
    Asked,
    BlockArrived,
    Event,
    KeysOrdered,
    MaterialOpened,
    NetworkChanged,
    SecretCarried,
)
from kms.domain.generation import Ground, Standing
from kms.domain.keyrequests import (
    DecKeys,
    EncKeys,
    KeysReply,
    Outcome,
    PairStatus,
    PairStatusReply,
)
from kms.domain.orders import OrderDone
from kms.domain.outbox import Outbox
from kms.domain.requests import CloseReply, GetKey, KeyReply, OpenConnect, OpenReply, Reply
from kms.domain.status import Status


class Gate:
    """Answers for a node that stands."""

    def __init__(self, standing: Standing) -> None:
        self.standing = standing
        self.network: NetworkChanged | None = None
        """the last view, to be taken when the node goes on"""

    @property
    def reason(self) -> str:
        return f"{self.standing.reason} (kms restore)"

    @property
    def alarm(self) -> str:
        """The kind of its alarm."""
        return "store-unknown" if self.standing.ground is Ground.UNKNOWN else "old-store"

    def handle(self, event: Event, out: Outbox) -> None:
        """The event is answered and changes nothing."""
        match event:
            case Asked(request_id=request_id, drawn=drawn):
                if drawn is not None:
                    drawn.wipe()
                out.add(Answer(request_id=request_id, reply=self._reply(event)))
            case BlockArrived(device=device, block_id=block_id, bits=bits):
                bits.wipe()
                refused = "the node stands until kms restore"
                out.add(BlockStored(device=device, block_id=block_id, refused=refused))
            case SecretCarried(link=link, bits=bits):
                bits.wipe()
                out.alarm("secret-refused", link, self.reason)
            case KeysOrdered(request_id=request_id):
                done = OrderDone(refused=self.reason, hint="kms restore, then order again")
                out.add(Answer(request_id=request_id, reply=done))
            case MaterialOpened(bits=bits):
                if bits is not None:
                    bits.wipe()
            case NetworkChanged():
                self.network = event

    def _reply(self, event: Asked) -> Reply:
        message = f"this node serves no key: {self.standing.reason}"
        if isinstance(event.request, OpenConnect):
            qos = event.request.qos
            return OpenReply(status=Status.NO_QKD_CONNECTION, message=message, qos=qos)
        if isinstance(event.request, GetKey):
            return KeyReply(status=Status.INSUFFICIENT_KEY, message=message)
        if isinstance(event.request, EncKeys | DecKeys):
            return KeysReply(outcome=Outcome.UNAVAILABLE, message=message)
        if isinstance(event.request, PairStatus):
            return PairStatusReply(outcome=Outcome.UNAVAILABLE, message=message)
        return CloseReply(status=Status.NO_QKD_CONNECTION, message=message)
