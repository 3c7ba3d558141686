"""Reads Parquet files of a stranger, in a process of its own that may use little memory and time.

A file of a kilobyte can hold a text of a gigabyte. What this process survives, the one that started it may read too.
Run by path, because it imports nothing of this project:

python -P bench/exchange/parquet_probe.py CHARACTERS BYTES SECONDS FILE ROWS [FILE ROWS ...]

Exit code 0: within BYTES of address space and SECONDS of processor time the files were read; each has at most ROWS rows
and no text of more than CHARACTERS characters. Otherwise one line says why not, or the process dies.
"""

from __future__ import annotations

import contextlib
import os
import sys


def main() -> int:
    """See the module's docstring."""
    characters, memory, seconds = map(int, sys.argv[1:4])
    with contextlib.suppress(ImportError, ValueError, OSError):  # no such limits on this system
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ["POLARS_MAX_THREADS"] = "1"
    for path, rows in zip(sys.argv[4::2], map(int, sys.argv[5::2])):
        wrong = fault(path, rows, characters)
        if wrong:
            print(f"{os.path.basename(os.path.dirname(path))}/{os.path.basename(path)}: {wrong}")
            return 1
    return 0


def fault(path: str, rows: int, characters: int) -> str:
    """What is wrong with a file; "" if nothing is."""
    import polars as pl

    count = pl.scan_parquet(path).select(pl.len()).collect().item()
    if count > rows:
        return f"{count} rows, more than {rows}"
    for name, dtype in pl.read_parquet_schema(path).items():
        column = pl.read_parquet(path, columns=[name])[name]
        if len(column) != count:
            return f"column {name!a} has not the {count} rows that the file says"
        if dtype == pl.String and (column.str.len_bytes().max() or 0) > characters:
            return f"a text in column {name!a} of more than {characters} characters"
    return ""


if __name__ == "__main__":
    sys.exit(main())
