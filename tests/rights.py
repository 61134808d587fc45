"""Folders that may only be read, also where the tests run as root, whom permission bits do not
stop.
"""

import contextlib
import ctypes
import os
import threading

_LINUX_CAPABILITY_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Data(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


@contextlib.contextmanager
def read_only(*folders):
    """These folders without the right to write, for as long as the block runs."""
    modes = {folder: os.stat(folder).st_mode for folder in folders}
    for folder in folders:
        os.chmod(folder, 0o555)
    try:
        yield
    finally:
        for folder, mode in modes.items():
            os.chmod(folder, mode)


def give_up_capabilities():
    """Let permission bits hold for this thread and those that it starts, also if it is root's."""
    nothing = (_Data * 2)()
    header = _Header(_LINUX_CAPABILITY_VERSION_3, 0)
    assert ctypes.CDLL(None).capset(ctypes.byref(header), nothing) == 0


def without_root(function):
    """The result or the error of `function` in a thread without root's capabilities."""
    outcome = []

    def call():
        try:
            give_up_capabilities()
            outcome.append((function(), None))
        except BaseException as error:  # noqa: BLE001  it is raised again below
            outcome.append((None, error))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    ((value, error),) = outcome
    if error is not None:
        raise error
    return value
