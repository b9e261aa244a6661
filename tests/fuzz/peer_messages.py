"""What a neighbour's bytes read as: headers, messages, openings (kms/domain/wire, frame)."""

if __name__ == "__main__":
    from tests.fuzz.engine import main

    main("peer_messages")

from kms.domain import frame, limits, wire
from kms.domain.errors import PeerFault


def one_input(data: bytes) -> None:
    """Refused by ``PeerFault``, or within bounds and written back to what reads the same."""
    try:
        header = frame.read_header(data)
    except PeerFault:
        pass
    else:
        tag = limits.TAG_BYTES if header.kind is frame.Kind.SEALED else 0
        whole = frame.HEADER_BYTES + header.public_bytes + header.secret_bytes + tag
        assert whole == len(data) <= limits.FRAME_BYTES_MAX, "the lengths add up"
    for content in (data, data[1:]):
        try:
            messages = wire.decode(content)
        except PeerFault:
            continue
        assert len(messages) <= limits.MESSAGES_PER_FRAME_MAX, "a frame's messages are bounded"
        encoded = wire.encode(messages)
        assert messages == wire.decode(encoded), "what was read is written"
        assert encoded == wire.joined([wire.encode_one(each) for each in messages])
    try:
        opening = wire.decode_opening(data)
    except PeerFault:
        return
    assert opening == wire.decode_opening(wire.encode_opening(opening)), "what was read is written"
