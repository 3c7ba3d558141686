"""A stranger's zip file, read with limits on names, kinds and sizes, whatever its headers say."""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from pathlib import Path

from shb.errors import ConfigurationError, shown

MAX_FILES = 10_000
MAX_BYTES = 2 << 30  # of all files, unpacked
MAX_RATIO = 100  # unpacked over packed bytes, of a file larger than SMALL_FILE
SMALL_FILE = 1 << 20  # bytes
MAX_DIRECTORY = 8 << 20  # bytes of the list of entries
_PART = r"[A-Za-z0-9_+-][A-Za-z0-9_.+ -]{0,99}"  # of a path: no dot at its beginning
_PATH = re.compile(rf"{_PART}(/{_PART}){{0,9}}")
PLAIN = "a relative path of letters, digits and _ . + - and blanks, without .. and without a dot at the beginning"
_END, _END_64 = b"PK\x05\x06", b"PK\x06\x07"
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError)


def is_plain(name: str) -> bool:
    """Whether a file of an archive may have this name (see PLAIN)."""
    return _PATH.fullmatch(name) is not None and ".." not in name


def read_files(path: Path) -> dict[str, bytes]:
    """Every file of a zip file: name -> content, within the limits above.

    Raises:
        ConfigurationError: no zip file, or one that is refused.
    """
    if not path.is_file():
        raise ConfigurationError("archive", path, "a file")
    if path.stat().st_size > MAX_BYTES:
        raise ConfigurationError("archive", path, f"at most {MAX_BYTES:,} bytes")
    try:
        _check_end(path)
        with zipfile.ZipFile(path) as archive:
            _check_entries(archive.infolist(), archive.start_dir)
            return _read_all(archive)
    except ConfigurationError:
        raise
    except _DAMAGED as error:
        raise ConfigurationError("archive", path, f"an undamaged zip file ({shown(str(error))})") from None


def _check_end(path: Path) -> None:
    """Ends as a plain zip file does (no comment, no 64-bit directory), so that its list of entries has a bounded
    size."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 42))
        tail = file.read()
    end = tail[-22:]
    if not end.startswith(_END) or end[20:22] != b"\0\0" or tail[:-22].startswith(_END_64):
        raise ConfigurationError("archive", path, "a zip file without comment and without 64-bit directory")
    if int.from_bytes(end[12:16], "little") > MAX_DIRECTORY:
        raise ConfigurationError("archive", path, f"a list of entries of at most {MAX_DIRECTORY:,} bytes")


def _check_entries(entries: list[zipfile.ZipInfo], directory: int) -> None:
    if len(entries) > MAX_FILES:
        raise ConfigurationError("archive", f"{len(entries)} files", f"at most {MAX_FILES:,}")
    seen: set[str] = set()
    for entry in entries:
        name = entry.orig_filename  # as it stands there: zipfile cuts off what follows a NUL
        if not is_plain(name):
            raise refused(name, PLAIN)
        if name.lower() in seen:  # some file systems know one case only
            raise refused(name, "a name that is there once")
        seen.add(name.lower())
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise refused(name, "an ordinary file: no link, no device")
        if entry.flag_bits & 0x1:
            raise refused(name, "a file that is not encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise refused(name, "stored or deflated")
        if entry.file_size > max(SMALL_FILE, MAX_RATIO * entry.compress_size):
            raise refused(name, f"packed at most {MAX_RATIO} times")
    if sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise ConfigurationError("archive", "all files together", f"at most {MAX_BYTES:,} bytes unpacked")
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    ends = [entry.header_offset + 30 + len(entry.orig_filename) + entry.compress_size for entry in ordered]
    starts = [*(entry.header_offset for entry in ordered[1:]), directory]
    for entry, end, start in zip(ordered, ends, starts):
        if end > start:
            raise refused(entry.orig_filename, "data of its own: no two files may share bytes")


def _read_all(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """Contents, counted while they are read: headers may lie."""
    files: dict[str, bytes] = {}
    left = MAX_BYTES
    for entry in archive.infolist():
        limit = min(left, max(SMALL_FILE, MAX_RATIO * entry.compress_size))
        with archive.open(entry) as file:
            content = file.read(limit + 1)
            if len(content) > limit or file.read(1):
                raise refused(entry.filename, f"at most {limit:,} bytes")
        if len(content) != entry.file_size:
            raise refused(entry.filename, f"{entry.file_size} bytes, as its header says")
        left -= len(content)
        files[entry.filename] = content
    return files


def refused(name: str, allowed: str) -> ConfigurationError:
    """The error for one file of an archive."""
    return ConfigurationError("archive", shown(name), allowed)
