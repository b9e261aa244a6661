"""What the fields of messages between two nodes may hold: bounds that reading checks."""

from typing import Annotated

from msgspec import Meta

UUIDBytes = Annotated[bytes, Meta(min_length=16, max_length=16)]
Hash = Annotated[bytes, Meta(min_length=0, max_length=32)]
Tag = Annotated[bytes, Meta(min_length=16, max_length=16)]
Offset = Annotated[int, Meta(ge=0, lt=2**62)]
Count = Annotated[int, Meta(ge=0, lt=2**32)]
SAEText = Annotated[str, Meta(min_length=1, max_length=64)]
Text = Annotated[str, Meta(max_length=200)]
AlarmKind = Annotated[str, Meta(max_length=32)]
