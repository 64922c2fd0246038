"""Questions that brands answer by counted sums instead of by a trained model.

A run of one is ``fl-run experiment=NAME out=DIR`` like any other; ``experiments/compare.py`` hands
it over by the name of its task.

1. ``study.py``    what a question has to bring, and the run: prepare, ask in every seed and under
   every guarantee, publish
2. ``asking.py``   one question asked of all brands: ledgers, secure sum, rounds, journal
3. ``inquiry.py``  the resolved config as objects
4. ``catalog.py``  the table of questions; one file each: what is asked, what it is compared with,
   what its report says

To add one: a task with bounded vectors of customers in ``fl/tasks/`` (as ``statistics.py``), an
algorithm that says in which rounds they are asked for (``fl/algorithms/counts.py`` asks once), a
file here, its line in ``catalog.py``, ``conf/task/NAME.yaml``.
"""
