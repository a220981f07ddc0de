"""The errors that users see: what is wrong, where, and what to do."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Input data or configuration that cannot be used; the message says where and what to do."""


class DamagedFile(InputError):
    """A result that cannot be read, as after a power cut; the workflow sets it aside, so that the next run makes it anew."""

    def __init__(self, path, error: Exception):
        super().__init__(f"{path} is damaged ({type(error).__name__}: {' '.join(str(error).split())}); make it anew")
        self.path = path


def listing(items: Iterable, limit: int = 5) -> str:
    """The first few items of a list, and how many were left out."""
    items = [str(item) for item in items]
    rest = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + rest


def nearest(name: str, known: Iterable[str]) -> str:
    """The known names, with the closest one proposed first: the end of an error message."""
    known = [str(k) for k in known]
    folded = {k.casefold(): k for k in known}
    close = difflib.get_close_matches(str(name).casefold(), folded, n=1)
    hint = f"did you mean '{folded[close[0]]}'? " if close else ""
    return f"{hint}Known: {listing(known, 12) or 'none'}."
