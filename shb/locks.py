"""One process at a time, where the file system can tell."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not POSIX: nobody waits
    fcntl = None  # type: ignore[assignment]  # a module, to mypy


@contextlib.contextmanager
def alone(lock: Path, seconds: float) -> Iterator[bool]:
    """Wait until no other process is in here with the same file `lock`, but at most `seconds`.

    Yields whether that is so: False after that time, and where the system or the file system has no locks. The file
    goes with its last user: who gets the lock looks whether the file is still the one in the folder.

    Raises:
        OSError: the file cannot be made.
    """
    handle, deadline = None, time.monotonic() + seconds
    while fcntl is not None and handle is None and time.monotonic() < deadline:
        candidate = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(candidate, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(candidate), os.stat(lock)):
                handle = candidate
        except BlockingIOError:
            time.sleep(0.05)
        except FileNotFoundError:  # its last user has gone with it
            continue
        except OSError:  # locks are not supported here
            deadline = 0.0
        finally:
            if handle is None:
                os.close(candidate)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            with contextlib.suppress(OSError):
                lock.unlink()
            os.close(handle)
