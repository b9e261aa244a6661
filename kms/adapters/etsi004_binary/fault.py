"""What is wrong with a stranger's bytes.

The codec does not know whose they are: the device adapter turns a ``MessageFault`` into a
``DeviceFault``, an application's adapter into an ``AppFault``, both under the same name.
"""


class MessageFault(Exception):
    """These bytes are no message.

    ``name`` is stable: ``garbage``, ``wrong-version``, ``wrong-service``, ``oversized``,
    ``bad-status`` or ``cut``. The reason never repeats payload bytes: they may be key.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason
