"""The device twin: one end of a simulated QKD device pair, behind the socket of a real one.

Reason: tests, demos and benches need devices, with all their faults, on any machine.

Rules:
- Two ends agree without talking. Bits and id of block number i are functions of the link's seed,
  the link's name and i; which numbers exist now is a function of wall time since a shared epoch.
- A number is given once. What an end has delivered, had before it started, or had to drop for lack
  of room is gone from it, as from a real device. The last answer may be asked for again, since
  its reader may never have got it; but never under index 0, which is how a new reader begins.
- Faults are drawn by the end's own seed and the block's number: a run repeats exactly, and the
  two ends fail independently.

Theory of operation, in files: ``config`` the knobs, from TOML and flags; ``bits`` what a block is
made of; ``stock`` which numbers there are; ``chance`` the draws; ``misbehaviour`` how an answer is
spoilt; ``device`` the socket and the conversation. ``python -m kms.twin`` runs one end.

This is a simulation: its key comes out of a seed in a file, and protects nothing.
"""
