"""Parts of the wiring that ``kms/app.py`` puts together: the beginning, devices, listeners.

Beside ``app.py`` this is the only place that knows adapters by name.
"""
