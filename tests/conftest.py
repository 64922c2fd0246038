"""What every test runs under: one torch thread, and one hypothesis profile per place."""

from __future__ import annotations

import os

import torch
from hypothesis import settings

torch.set_num_threads(1)

settings.register_profile("desk", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")
