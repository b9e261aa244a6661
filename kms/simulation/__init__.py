"""Whole networks on a virtual clock: real nodes, and everything around them that can go wrong.

``kms sim`` runs it. Nothing here waits, and nothing reads a clock: one heap of what happens next,
one seed for every chance, so that a seed is a history, the same on every machine. The nodes are
``kms.domain.node.Node``, unchanged; disks, wires, clocks, devices, applications and operators are
models that can be hurt; one checker per invariant looks on (``checkers/``) and believes no node.
"""
