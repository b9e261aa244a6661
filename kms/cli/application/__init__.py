"""``kms app``: what an application asks of a node, from the command line.

``place`` says where the node is and who asks; ``streams``, ``keys`` and ``files`` are the commands.
They use the blocking clients of ``kms.client`` as any other program would.
"""
