"""A run that stops in the middle, as if the process had been killed between two steps."""


class Interrupted(Exception):
    pass


def interrupt_after(calls):
    """A progress callback that stops the run at its n-th call."""
    left = calls

    def progress(steps):
        nonlocal left
        left -= 1
        if left == 0:
            raise Interrupted

    return progress
