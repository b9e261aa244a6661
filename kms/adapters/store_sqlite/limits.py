"""Bounds of the SQLite store, unit in the name, the reason in the line above it."""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# A sector is the largest write that every disk makes whole: a slot is old or new, never mixed.
SLOT_BYTES: Final = 512
# Slots are made by the step (4 MiB written and synced), so that later writes allocate nothing.
SLOTS_STEP: Final = 8192
# 2 GiB of slot file: about eight times what the largest pools need.
SLOTS_MAX: Final = 4 * MIB

# Sealed units begin on a page: no two units share one.
GRANULE_BYTES: Final = 4 * KIB
# The material file grows by this much at a time.
MATERIAL_STEP_BYTES: Final = 16 * MIB
# Many pools of POOL_BYTES_MAX; past it the store is full, and says so.
MATERIAL_FILE_BYTES_MAX: Final = 64 * 1024 * MIB
# One unit is decrypted in memory at a time; the largest chunk is a unit of 1 MiB.
UNIT_BYTES_MAX: Final = 4 * MIB

# Calls handed to the writer and not finished: the callers past them wait.
JOBS_WAITING_MAX: Final = 64
# Plaintext of designated chunks kept for delivery: several streams' stock.
FRESH_BYTES_MAX: Final = 16 * MIB
# Slots wrapped anew in one step of a rekey: commits wait for one step at the most (about 20 ms).
REWRAP_STEP: Final = 512
# One system call takes at most this many buffers (IOV_MAX of Linux is 1024).
BUFFERS_PER_WRITE_MAX: Final = 512
# The write-ahead log is cut back to this size after a checkpoint.
WAL_BYTES_KEPT: Final = 4 * MIB
# Closing waits this long for the calls that were handed over before.
CLOSE_S: Final = 30.0
