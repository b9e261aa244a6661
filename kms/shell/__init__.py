"""The shell around the pure core: it pumps events in and carries effects out.

It knows the ports and the domain, never an adapter: the same shell runs over the real world in
``kms/app.py`` and over fakes in the tests.
"""
