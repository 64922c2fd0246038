"""The cohort runtime: many simulated brands stacked into one tensor program.

Reading order: ``together`` (which brands go together, and how), ``blocks`` (the local loop of a
block), ``formulas`` and ``functional`` (gradients), ``orders`` (batches), ``descent`` (the step),
``stacks`` (parameters side by side). What clips and adds noise is in ``fl/privacy/blocks.py``.
"""
