"""What every test runs under: one torch thread, and one hypothesis profile per place."""

from __future__ import annotations

import logging
import os
import sys

import pytest
import torch
from absl import logging as absl_logging
from hypothesis import settings

torch.set_num_threads(1)

# absl (of dp-accounting) keeps the sys.stderr of its import, and Hydra closes it with all handlers:
# under pytest that is a capture file which everybody still needs. The real one is never closed.
absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__

settings.register_profile("desk", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")


@pytest.fixture(autouse=True)
def loggers_that_an_earlier_command_switched_off_speak_again() -> None:
    """Hydra's ``job_logging: disabled`` does so for the whole process, and silences warnings."""
    logging.root.setLevel(logging.WARNING)
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False
