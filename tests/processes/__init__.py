"""Real nodes: ``kms run`` processes, simulated devices, sockets, SQLite and signals."""
