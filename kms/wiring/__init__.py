"""Parts of the wiring that ``kms/app.py`` puts together: devices and listeners.

Beside ``app.py`` this is the only place that knows adapters by name.
"""
