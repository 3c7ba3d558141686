"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TEMPORARY = ".tmp"  # how the name of an unfinished file ends; a killed process may leave one, which nothing reads


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name in the folder of `path` (made if absent), which is renamed to `path` where the block succeeds.

    The content is on the disk before it has its name, so that after a crash `path` is the old file or the new one.
    After an error `path` is as it was, and no temporary file is left.

    Raises:
        OSError: the folder cannot be made, or the file cannot be written or renamed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{os.getpid()}.{secrets.token_hex(4)}{TEMPORARY}")  # short: `path` may be long
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno and error.filename in (None, str(temporary)):  # a full disk says nothing of the file
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with suppress(OSError):  # the error above says more
            temporary.unlink()


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file (a text in UTF-8) by `replacing`, with the permissions that the umask leaves."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
