"""The cohort runtime: many simulated brands stacked into one tensor program.

Reading order: ``together`` (which brands go together), ``stored`` (how they are computed),
``blocks`` (the local loop of a block), ``formulas`` and ``functional`` (gradients), ``compiled``
(whole loops), ``orders`` (batches), ``descent`` (the step), ``stacks`` (parameters side by side).
What samples, clips and adds noise is in ``fl/privacy/blocks.py``.
"""
