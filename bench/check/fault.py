"""What a check raises when it has found something wrong."""

from __future__ import annotations


class Fault(Exception):
    """One line: what is wrong, with numbers, and its cure."""

    def __init__(self, found: str, cure: str) -> None:
        super().__init__(" ".join(f"{found}. Cure: {cure}".split()))
