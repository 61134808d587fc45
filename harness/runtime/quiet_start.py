"""Lets Ctrl-C end a command without a traceback while its modules are imported, which takes
seconds, and again when it is over. In between command.main takes the signal.
"""

from __future__ import annotations

import signal


def take_ctrl_c() -> None:
    """Let the system end this process at Ctrl-C, as it does at SIGTERM, unless it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
