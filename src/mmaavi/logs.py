"""Where the messages of a workflow script go."""

import logging
import os
import sys

from .errors import DamagedFile, InputError


def log_to(path: str) -> None:
    """Write messages, warnings and uncaught errors of this process to a file; show what went wrong on the terminal too."""
    logging.basicConfig(filename=path, filemode="w", level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.captureWarnings(True)

    def report(kind, error, trace) -> None:
        if issubclass(kind, InputError):  # the message says what to do; where it was raised helps nobody
            logging.error("%s", error)
            print(f"Error: {error}", file=sys.stderr)
            if issubclass(kind, DamagedFile):
                os.replace(error.path, f"{error.path}.damaged")
                print(f"It is now {error.path}.damaged: the next run makes it anew", file=sys.stderr)
        else:
            logging.error("uncaught error", exc_info=(kind, error, trace))
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = report
