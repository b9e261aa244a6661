"""What the node asks of the world, each port a typed Protocol whose docstring is its contract."""
