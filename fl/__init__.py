"""The shared library of crossbrand-fl: pure code; no process, no network, no Hydra at import.

Reading order
-------------
1. ``fl/contracts.py``   the concepts and the wire types
2. ``fl/doors.py``       what may be asked of a brand, and what is answered
3. ``fl/round.py``       one round, both halves, numbered
   ``fl/brand.py``       the three doors to a brand's data, and the one local training loop
4. ``fl/algorithms/``    one file = one paper: what is asked of a brand, what is done with the sum
5. ``fl/privacy/``       what every answer passes before it may leave (start at its ``__init__``)
6. ``fl/data/``          schema, sources, partitions, splits, the catalogue of data sets
7. ``fl/federation/``    who carries requests to brands and replies back
8. ``fl/audit/``         checks what a brand recorded, without believing it (``fl-audit``)
9. the rest: ``fl/models/``, ``fl/tasks/``, ``fl/report/``, ``fl/config.py``, ``fl/errors.py``

``clients/`` and ``server/`` plug the two halves of a round into a process; ``experiments/`` drives
them through Hydra configs found in ``conf/``.
"""
