"""The demonstration: a network of real processes on this machine, and applications that use it.

Everything here uses the node as a stranger would: files, commands, sockets and the client library.
"""
