"""Who is asked to be silent: transformers and datasets inside a `with`, this library where the user says so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

# Set to anything: no progress bars and no remarks, also in the processes that this one starts.
VARIABLE = "ELLORA_TRUST_QUIET"


def is_quiet() -> bool:
    """Whether the user wants to see results and problems only."""
    return bool(os.environ.get(VARIABLE))


@contextmanager
def hush() -> Iterator[None]:
    """Be quiet inside the `with`."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hold transformers' bars and warnings back, and put its settings as they were afterwards."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def quiet_datasets() -> Iterator[None]:
    """Hold the bars of `datasets` back, and put its setting as it was afterwards."""
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    were = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if were:
            enable_progress_bars()
