"""The command line: parsing of arguments only; what a command does lies elsewhere.

Rules: a fault prints ``error:`` and ``hint:`` on stderr and ends with status 1, wrong usage with
2, what a node tells an application with those of ``faults``; never a traceback for a fault. Every
command that reports takes ``--json``. ``python -O`` is refused: the assertions that guard the pads
would be gone.

Theory of operation: each command is named by module and function, and imported when it is called,
so that ``kms --help`` and short commands do not wait for what ``kms run`` needs.
"""

import sys
from collections.abc import Iterator, Sequence

from cyclopts import App, CycloptsError

import kms
from kms.cli.faults import Failed
from kms.domain.errors import KMSError

app = App(
    name="kms",
    help="Key Management System for a network of quantum key distribution links.",
    version=kms.__version__,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
for _name, _where, _help in (
    ("run", "kms.cli.node:run", "Run the node until SIGTERM or kms stop."),
    ("check", "kms.cli.node:check", "Check a node's configuration; change nothing."),
    ("status", "kms.cli.node:status", "Show links, devices, streams and alarms."),
    ("unseal", "kms.cli.node:unseal", "Open the node's store with its passphrase."),
    ("rekey", "kms.cli.node:rekey", "Seal everything under a new epoch key."),
    ("restore", "kms.cli.restore:restore", "Go on with a store that was put back to an old copy."),
    ("reload", "kms.cli.node:reload", "Take network file and certificates as they are now."),
    ("stop", "kms.cli.node:stop", "Stop the node in order."),
    ("link-secret", "kms.cli.link:link_secret", "Make a link's secret, a file for each site."),
    ("device-twin", "kms.cli.tools:device_twin", "Run one end of a simulated device pair."),
    ("demo", "kms.cli.demo:demo", "Two nodes with simulated devices on this machine."),
    ("sim", "kms.cli.sim:sim", "Play seeded histories of a network with faults; check all of it."),
    ("bench", "kms.cli.bench:bench", "Measure what this machine delivers."),
):
    app.command(_where, name=_name, help=_help)
_link = App(name="link", help="Links of a running node.")
_link.command("kms.cli.link:add", name="add", help="Add a neighbour to the running node.")
_link.command(
    "kms.cli.link:restart", name="restart", help="Open a new epoch of a link from a second secret."
)
_pki = App(name="pki", help="A certificate authority for development.")
_pki.command("kms.cli.pki:ca", name="ca", help="Make a certificate authority.")
_pki.command(
    "kms.cli.pki:issue", name="issue", help="Issue a certificate for a node or an application."
)
_audit = App(name="audit", help="The audit journal.")
_audit.command(
    "kms.cli.audit:verify",
    name="verify",
    help="Check that no record was altered, removed or cut off.",
)
_app = App(name="app", help="Keys for an application, and files under them.")
for _name, _where, _help in (
    ("open", "kms.cli.application.streams:open", "Open or join a key stream."),
    ("get", "kms.cli.application.keys:get", "Get keys of a stream, or keys with IDs."),
    ("close", "kms.cli.application.streams:close", "Close our end of a key stream."),
    ("encrypt", "kms.cli.application.files:encrypt", "Encrypt a file for the other application."),
    ("decrypt", "kms.cli.application.files:decrypt", "Decrypt a file of the other application."),
):
    _app.command(_where, name=_name, help=_help)
_key = App(name="key", help="Keys of a running node: hold them back, or give them up for lost.")
_key.command("kms.cli.key:suspend", name="suspend", help="Hold keys back until they are resumed.")
_key.command("kms.cli.key:resume", name="resume", help="Let suspended keys be delivered again.")
_key.command("kms.cli.key:compromise", name="compromise", help="Give keys up for lost, for good.")
for _group in (_link, _key, _pki, _audit, _app):
    app.command(_group)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status."""
    if not __debug__:
        _complain("python -O drops the assertions", "run it without -O and PYTHONOPTIMIZE")
        return 2
    try:
        result = app(
            list(sys.argv[1:] if arguments is None else arguments),
            exit_on_error=False,
            print_error=False,
        )
    except CycloptsError as error:
        _complain(" ".join(str(error).split()), "kms --help, or kms COMMAND --help")
        return 2
    except Failed as failure:
        _complain(failure.reason, failure.hint)
        return failure.exit_status
    except KMSError as fault:
        _complain(fault.reason, fault.hint)
        return 1
    except BaseExceptionGroup as group:
        # A nursery wraps what its tasks raise. Anything but a fault is a bug and keeps its trace.
        faults = list(_faults(group))
        if group.split(KMSError)[1] is not None:
            raise
        for one in faults:
            _complain(one.reason, one.hint)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader, ``head`` say, has seen enough. Python would complain once more at exit.
        sys.stderr.close()
        return 1
    return result if isinstance(result, int) else 0


def _faults(group: BaseExceptionGroup[BaseException]) -> Iterator[KMSError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _faults(error)
        elif isinstance(error, KMSError):
            yield error


def _complain(reason: str, hint: str) -> None:
    print(f"error: {reason}\nhint: {hint}", file=sys.stderr)
