"""``python -m dynatomic``: the command ``dynatomic``."""

import os
import signal
import sys


def main() -> int:
    """Run the command line of this process and return the exit code."""
    # The kernel drops a signal to the first process of a container if there is no handler for it.
    # Set before the imports of the command, which take longer than a container may live.
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda signal_number, _: os._exit(128 + signal_number))
    # Python answers an interrupt with a traceback. Until the command can say something better, the
    # signal ends the process as it ends other programs. Where it is ignored, it stays ignored.
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from dynatomic.cli import main as cli  # noqa: PLC0415 - see above

    if interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
