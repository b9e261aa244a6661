"""Every bound of the system, unit in the name, the reason in the line above it."""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# ---- blocks and pads ------------------------------------------------------------------------

# Smaller device keys are gathered: agreeing on a block costs about 200 pad bytes, 5 % of 4 KiB.
BLOCK_BYTES_MIN: Final = 4 * KIB
# One block is held in memory while it is stored; a device that claims more is at fault.
BLOCK_BYTES_MAX: Final = 4 * MIB
# A unit has a data key and slot of its own, and is the step in which pads are opened and burnt.
UNIT_BYTES_MIN: Final = 4 * KIB
UNIT_BYTES_MAX: Final = 64 * KIB
# A block is at most this many units, so that a window can be a small share of the level.
UNITS_PER_BLOCK: Final = 16
# Blocks at one end only, waiting for the other: bounds memory against a peer that is down.
HELD_BLOCKS_MAX: Final = 4096
# Default ceiling of one link's pool; the device is not read while it is full.
POOL_BYTES_MAX: Final = 1024 * MIB
# Kept in each direction for the nodes' own frames: a drained link can still agree on a block.
RESERVE_BYTES: Final = 8 * KIB
# Kept as well, whatever they come to: a restart burns the one that is open, and two restarts in a
# row, with no block between them, must not leave the two ends without a word to say to each other.
# More would stand more, but a link of 1 kbit/s takes minutes to fill them before a stream goes on.
RESERVE_UNITS: Final = 3
# Of the reserve, the share that messages about streams leave alone: else reconnections without
# blocks would use up what agreement on the next block needs.
STREAM_KEEP_SHARE: Final = 2
# Within the opened window, key draws leave this much for grants and acknowledgements.
WINDOW_RESERVE_BYTES: Final = 2 * KIB
# A window is at most this share of the level above the reserve: a crash burns at most a window.
WINDOW_SHARE: Final = 16
# Windows larger than this gain no speed and burn more at a crash.
WINDOW_BYTES_MAX: Final = 8 * MIB
# A block at one end only is destroyed after this long: devices and nodes may be down meanwhile.
BLOCK_EXPIRY_MS: Final = 60 * 60 * 1000
# A stuck device repeats a byte, a word, or a line of its memory.
REPEATED_PATTERN_BYTES: Final = 16
# Of a block's bits so much is remembered, to notice when they come again: by chance once in 2**64
# blocks, which costs one; and of the bits an unbounded mind learns no more than these.
BITS_DIGEST_BYTES: Final = 8
# A stuck device gives the block before, or what a buffer of some blocks holds. So many are in the
# link's record, which is written with each agreed block; in memory there are as many.
BLOCKS_COMPARED: Final = 16
# Different blocks under one id: from this many in a row on, the link is under alarm.
MISMATCHES_MAX: Final = 3
# Good blocks in a row after which a QBER or mismatch alarm ends by itself.
ALARM_CLEAR_BLOCKS: Final = 3
# Taken beyond a full pool while the link is under alarm, or nothing could end it: those, and some
# that only one end has.
ALARM_ROOM_BLOCKS: Final = 16
# A direction with less above its reserve than one turn of the pacer is drained.
DRAINED_BYTES: Final = 16 * KIB
# Taken beyond a full pool while a direction is drained, or the rest of the pool, which is reserve
# or the other direction's, would keep it so: one, and one that only one end has.
DRAINED_ROOM_BLOCKS: Final = 2
# Kept in the opened window for grants alone: two of them, so that neither end can lock the other.
GRANT_KEEP_BYTES: Final = 128
# What a draw needs beside its key: MAC key, the designation itself, and the window's reserve.
DRAW_OVERHEAD_BYTES: Final = 32 + 64 + WINDOW_RESERVE_BYTES
# Every so many forged frames end the session, with an alarm (each passes with p < 2**-80).
FORGERIES_MAX: Final = 16

# ---- hand-carried secret --------------------------------------------------------------------

# r and s of the universal hash (kms/domain/otp.py).
HASH_KEY_BYTES: Final = 32
# Enough for several hundred frames each way, and some restarts, before the first block.
SECRET_PAD_BYTES: Final = 64 * KIB
SECRET_BYTES: Final = HASH_KEY_BYTES + 2 * SECRET_PAD_BYTES
# A link remembers the secrets it used, to refuse them.
SECRETS_PER_LINK_MAX: Final = 1000

# ---- frames between nodes -------------------------------------------------------------------

# r and s of Poly1305, fresh for each frame, and its tag.
MAC_KEY_BYTES: Final = 32
TAG_BYTES: Final = 16
# A frame is bounded before it is parsed.
FRAME_BYTES_MAX: Final = 256 * KIB
# Messages of one frame: what a batch of offers needs.
FRAME_SECRET_BYTES_MAX: Final = 64 * KIB
MESSAGES_PER_FRAME_MAX: Final = 1024
ENTRIES_PER_MESSAGE_MAX: Final = 512
# Messages waiting for pad; past it the session is ended and resumed from the marks.
OUTBOX_MESSAGES_MAX: Final = 65536
# An epoch rises by one at a time: a neighbour that claims more than this is hostile or broken.
EPOCH_JUMP_MAX: Final = 1024
# The header's field; a link that ever gets here is stopped by name, not by an overflow.
EPOCH_MAX: Final = 2**32 - 1
# Offsets are 62 bits on the wire; a hello that claims more pad than this ever was is refused.
PAD_OFFSET_MAX: Final = 2**61
# Before a compromised link stops, so that the neighbour reads what it was told last: a round trip
# and a commit at either end.
LAST_WORD_MS: Final = 1_000
# Silence of a neighbour during the hello.
HELLO_TIMEOUT_MS: Final = 10_000

# ---- connections between nodes --------------------------------------------------------------

# A neighbour that reads slower than we seal: two windows wait for it, then its session is ended.
PEER_OUTGOING_BYTES_MAX: Final = 16 * MIB
# Small frames leave together up to four TLS records; more only adds delay.
PEER_COALESCE_BYTES: Final = 64 * KIB
# Connections that have not proven themselves yet; past it the oldest of them gives way.
PEER_HANDSHAKES_MAX: Final = 64
# TCP, TLS and greeting together; a round trip is below 0.3 s anywhere on earth.
PEER_HANDSHAKE_TIMEOUT_MS: Final = 5_000
# An idle session says that it lives; five missed in a row and the neighbour counts as gone.
PEER_HEARTBEAT_MS: Final = 2_000
PEER_SILENCE_MAX_MS: Final = 10_000
# A session that we end is given this long to hand over what was queued.
PEER_LINGER_MS: Final = 5_000
# Between two attempts to reach a neighbour, with jitter; a session of the longest wait is proof
# of health, and the next wait is the shortest again. A node starts in two seconds; a killed one is
# to be ready, links and all, within three: its neighbour must not miss it for long.
PEER_BACKOFF_MIN_MS: Final = 100
PEER_BACKOFF_MAX_MS: Final = 500

# ---- streams --------------------------------------------------------------------------------

# One 256-bit key, what most applications want.
CHUNK_BYTES_DEFAULT: Final = 32
# A chunk is drawn from one window, and is one answer in memory.
CHUNK_BYTES_MAX: Final = 1 * MIB
# Chunks are sealed in units of about this size, so that destroying one keeps the others.
CHUNK_UNIT_BYTES: Final = 64 * KIB
STREAMS_MAX: Final = 100_000
# Of the streams that it opens itself.
STREAMS_PER_APPLICATION_MAX: Final = 1000
# What neighbours announced is nobody's own here, and bounded apart (I10): a quarter of the node's
# places is left for those that applications here open, whatever all neighbours together announce,
STREAMS_ANNOUNCED_MAX: Final = STREAMS_MAX * 3 // 4
# one neighbour leaves most of the others' places,
STREAMS_ANNOUNCED_PER_LINK_MAX: Final = STREAMS_MAX // 4
# and one remote application the places of all others with the same one here.
STREAMS_ANNOUNCED_PER_PAIR_MAX: Final = STREAMS_PER_APPLICATION_MAX // 2
# Undelivered key made ahead for one stream.
STOCK_BYTES_MAX: Final = 8 * MIB
STOCK_CHUNKS_MIN: Final = 4
# What lies ready for a stream is halved so often, while nobody waits: longer than most applications
# pause between two bursts, short enough that a quiet stream soon leaves the key to others.
GOAL_HALVES_S: Final = 10
# Chunks of one byte must not become as many runs: also how far ahead an index may be asked for.
STOCK_CHUNKS_MAX: Final = 65_536
# Undelivered key kept for one stream whose other application reads on: then the oldest goes.
UNREAD_BYTES_MAX: Final = 4 * STOCK_BYTES_MAX
# Runs of one stream: an application that reads here and there is asked to read in order.
RUNS_PER_STREAM_MAX: Final = 1024
# One turn of a stream at a full window is at least this: a designation costs about 150 pad bytes.
PACER_TURN_BYTES_MIN: Final = 16 * KIB
# Designations of one batch: bounds the time to the batch's first answer.
DESIGNATIONS_PER_BATCH_MAX: Final = 256
# Streams passed over in one batch because their chunk is larger than what the link has.
PACER_SKIPS_MAX: Final = 64
# Marks of one batch: 100,000 streams are not said in one breath after a reconnection.
MARKS_PER_BATCH_MAX: Final = 512
# Share of a link's rate that is promised to applications; the rest pays for the nodes' frames.
ADMIT_PERCENT: Final = 90
# A stock counts as rate when it lasts this long: a stream can be promised key while a device rests.
ADMIT_LEVEL_S: Final = 600
# Share of what is left that a refusal proposes: stock and rate move before the next question, and
# the other end, which judges too, measures its own.
PROPOSE_PERCENT: Final = 75
# What a designation costs beside its key, in both pads together: its frame (71 bytes), and the
# other end's acknowledgement in one (70).
DESIGNATION_OVERHEAD_BYTES: Final = 144
# Promised key is made in parts of so long: at 10 kbit/s and more a designation then costs less than
# a quarter of what it names, and a second of Min_bps lies ready meanwhile.
PROMISE_TURN_MS: Final = 500
# What a stream that lacks key was promised and did not get is owed it for so long: a link of a few
# kbit/s agrees on a block every half minute.
PROMISE_OWED_MS: Final = 60_000
# Excess is not drawn from the last seconds of what a link has promised: else who is promised key
# would wait for each next block.
PROMISE_KEEP_S: Final = 2
# A chunk that a link has not, but makes within this time, keeps those behind it waiting: less than
# a Timeout. Larger ones wait until nobody else asks, or until Min_bps promises them.
LARGE_CHUNK_WAIT_S: Final = 2
# With Max_bps, chunks up to so much of it are delivered at once: a tick, so that small chunks need
# no timer each.
DELIVERY_BURST_MS: Final = 100
# Priorities of one link whose state the pacer keeps; an application may name any number.
PRIORITIES_MAX: Final = 256
# Streams that are looked at, of those that are owed promised key for longest, to see who waits.
OWED_LOOKS_MAX: Final = 64
# Promised key comes late when somebody has waited for it this long: four of its turns.
QOS_LATE_MS: Final = 2_000
# Late key, or a rate below what was promised, for so long is an alarm: no passing pause.
QOS_SHORT_S: Final = 5
# The alarm ends when the promises were kept for so long.
QOS_KEPT_S: Final = 30
# It ends at a little more than it begins at, or it would come and go: share of the rate.
QOS_KEPT_PERCENT: Final = 95
# One designation names at most this many chunks.
DESIGNATION_CHUNKS_MAX: Final = 65_536
# Largest index (ETSI GS QKD 004 table 1: uint32).
INDEX_MAX: Final = 2**32 - 1
# Who finds a policy's rate used up waits for this long's worth of it, all under it at once: longer
# the more streams there are, so that waiting costs the node about as much however many wait.
CAP_PAUSE_MS_MIN: Final = 100
CAP_PAUSE_MS_PER_STREAM: Final = 10
# A cap holds a second's worth: waiting for all of that would waste some.
CAP_PAUSE_MS_MAX: Final = 900
# Two applications whose rule is remembered: a thousand rules take 2 ms to look through. Who asks
# for others without end pays that each time; who is in use stays.
RULES_FOUND_MAX: Final = 16_384
# Rates of pairs without streams are remembered until there are so many, twice what is in use:
# closing and opening again must not begin a new second's worth.
CAPS_KEPT_MIN: Final = 1024
REQUESTS_WAITING_MAX: Final = 10_000
REQUESTS_PER_STREAM_MAX: Final = 64
# One application cannot take all waiting places (I10).
REQUESTS_PER_APPLICATION_MAX: Final = 1000
# Agreed Timeout when none, or more than the cap, is asked for.
TIMEOUT_DEFAULT_MS: Final = 5_000
TIMEOUT_MAX_MS: Final = 60_000
# An application that hears from its peer that both are connected may ask for a key before its own
# node has heard of it from the other: GET_KEY waits this long until it says 3.
JOIN_UNDER_WAY_MS: Final = 1_000
# Life of undelivered keys when none is asked for.
TTL_DEFAULT_S: Final = 24 * 60 * 60
TTL_MAX_S: Final = 30 * 24 * 60 * 60
# What was delivered is unreadable in the files after this long at the most (I6).
DESTROY_WITHIN_MS: Final = 60_000
# Delivered bytes are wiped this long after the delivery at the earliest: they are read from the
# store behind the commit that records the delivery. By then that is over, or the wipe waits for it.
WIPE_AFTER_MS: Final = 2000
# A commit that wipes waits this long at the most for deliveries that are not read yet. A wipe is
# due some 32 s after its delivery at the latest; it may wait behind such a commit, then in its own:
# that ends within the minute.
UNREAD_WAIT_MS: Final = 12_000
# Deliveries within such a step are one run.
WIPE_STEP_MS: Final = 250
# Timers of one tick; the rest follow in the next one.
DUE_PER_TICK_MAX: Final = 4096
# Ranges of indices that operators suspended or compromised, of one stream: a person names a few.
HOLD_RANGES_MAX: Final = 64
# Of an operator's name and reason, said to the neighbour and kept in both audits.
OPERATOR_CHARACTERS_MAX: Final = 64
REASON_CHARACTERS_MAX: Final = 200
# Closed streams remembered; then the oldest is forgotten early.
TOMBSTONES_MAX: Final = 100_000
# A closed stream's KSID is refused for this long (tombstone).
TOMBSTONE_MS: Final = 30 * 24 * 60 * 60 * 1000
# A wall clock that is wrong when the machine starts is set within the hour: until then nothing is
# forgotten for its sake.
CLOCK_DOUBTED_MS: Final = 60 * 60 * 1000

# ---- keys with IDs --------------------------------------------------------------------------

# One 256-bit key, when a request names no size.
KEY_BYTES_DEFAULT: Final = 32
# Below 64 bits it is a sample, not a key; and 1,024 of them would cost more in IDs than in bits.
KEY_BYTES_MIN: Final = 8
# What applications of oblivious transfer fetch at once; with the next, one answer is 4 MiB of key,
# half of what may lie ready for a pair, so that every request within both can be met.
KEY_BYTES_MAX: Final = 4 * KIB
KEYS_PER_REQUEST_MAX: Final = 1024
# Stretches of keys that a slave left out, below others that it fetched: then the oldest go. One
# request that names each second key leaves as many.
LEFT_OUT_PER_PAIR_MAX: Final = KEYS_PER_REQUEST_MAX
# Runs of one pair: each stretch left out, and each key of a request that names them here and there,
# makes two; so do those of another such request before it, which are not wiped yet.
RUNS_PER_PAIR_MAX: Final = 5 * KEYS_PER_REQUEST_MAX
# Slaves besides the first: a conference of ten; each of their nodes costs the master's node as much
# pad as there is key.
ADDITIONAL_SLAVES_MAX: Final = 8
# A request that names KEYS_PER_REQUEST_MAX key IDs, indented and with some words about each.
KEYS_BODY_BYTES_MAX: Final = 256 * KIB
# A request for keys waits so long for what lacks: a stream to the other node is opened in two round
# trips, a designation and its acknowledgement take one more.
KEYS_TIMEOUT_MS: Final = 2_000
# A key that the slave does not fetch, and a pair that asks for nothing, end after this; a key is
# given to the master in the first half of it, so that the slave has as long again to fetch it.
KEYS_TTL_S: Final = 60 * 60
# Sizes of key that one pair of applications has at a time: each has a stock of its own.
PAIR_SIZES_MAX: Final = 8

# ---- keys for several nodes -----------------------------------------------------------------

# One message of entrusted keys: a turn of the pacer, and half a batch of them is a window.
ENTRUST_BYTES_MAX: Final = PACER_TURN_BYTES_MIN
# Entrusted in one batch: bounds the time to the batch's first answer.
ENTRUSTS_PER_BATCH_MAX: Final = 64
# Requests whose keys are on their way, and their key, which is in memory meanwhile.
FLIGHTS_MAX: Final = 64
FLIGHT_BYTES_MAX: Final = 16 * MIB
# One application cannot take all of these places (I10).
FLIGHTS_PER_APPLICATION_MAX: Final = 8
# Bundles that one neighbour may have here, or this node of its own, until their slaves have them.
BUNDLES_PER_LINK_MAX: Final = 4096
BUNDLE_BYTES_PER_LINK_MAX: Final = 64 * MIB
# Of these one master's share (I10).
BUNDLES_PER_MASTER_MAX: Final = 512
BUNDLE_BYTES_PER_MASTER_MAX: Final = 16 * MIB
# Names of bundles that are over, refused until they would have expired; then the oldest is
# forgotten early.
BUNDLES_ENDED_MAX: Final = 16_384
# Withdrawals that a link which is down keeps for its next session; the rest expires there.
WITHDRAWALS_PER_LINK_MAX: Final = 4096

# ---- shell ----------------------------------------------------------------------------------

# The pump wakes at least this often.
TICK_MS: Final = 100
# Events waiting for the pump; senders wait (devices, peers) or are refused (applications).
INBOX_EVENTS_MAX: Final = 4096
# Events handled for one commit: bounds the time to the first answer of a batch.
BATCH_EVENTS_MAX: Final = 256

# Then the disk counts as hung and the node ends: twice the longest Timeout of an application, and
# far above the ten seconds that a disk in trouble may take.
DISK_ANSWER_MS: Final = 2 * TIMEOUT_MAX_MS

# ---- operations -----------------------------------------------------------------------------

# Configuration files are read whole: 1 MiB is a network of some ten thousand applications.
CONFIG_FILE_BYTES_MAX: Final = 1 * MIB
# One audit record on one line; a longer one is our own mistake, and what a reader holds at most.
JOURNAL_LINE_BYTES_MAX: Final = 64 * KIB
# Appends on their way to the journal's thread.
JOURNAL_APPENDS_WAITING_MAX: Final = 64
# Records between two notes of the chain's head: bounds what is verified at a start.
JOURNAL_HEAD_EVERY_RECORDS: Final = 4096
# The operator's requests; a link secret in base64 is 175 KiB.
ADMIN_BODY_BYTES_MAX: Final = 256 * KIB
# A passphrase is typed, or is one line of a file.
PASSPHRASE_BYTES_MAX: Final = 1024
# Streams listed in one status; the count of all is beside them.
STATUS_STREAMS_MAX: Final = 1000
# One event name may fill this many lines of the log in this time; the rest are counted.
LOG_EVENTS_PER_WINDOW_MAX: Final = 100
# Short enough that a burst and its end are both seen.
LOG_WINDOW_MS: Final = 10_000
# Different events the rate limit remembers: some hundred names on some links.
LOG_NAMES_MAX: Final = 4096
# The longest text of one field: a traceback's head and tail.
LOG_TEXT_MAX: Final = 2000


def unit_bytes(block_bytes: int) -> int:
    """The unit in which a block of this length is sealed: the same at both ends."""
    unit = -(-block_bytes // UNITS_PER_BLOCK)
    return min(max(unit, UNIT_BYTES_MIN), UNIT_BYTES_MAX)
