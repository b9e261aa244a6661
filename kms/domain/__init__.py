"""The pure core: events in, effects out; no I/O, no clock, no randomness, no trio."""
