"""What this machine delivers, measured against floors of the same run.

Rules: a figure without its floor says more about the machine than about the program, so each is
taken in turns with what the same machine does with nothing of ours in the way: a memory copy, a
durable SQLite commit, a TLS socket, a bare HTTP server. Only loopback, only a directory of its own.

Theory of operation: ``network`` runs two real nodes and two device ends as processes; ``agreed``,
``creation`` and ``delivery`` measure them from outside, as an operator and an application would.
``tunnel`` needs no node. ``steps`` takes single functions on one core. ``main`` puts it in order.
"""
