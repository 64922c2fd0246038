"""What an auditor runs: ``fl-audit``. It trusts nothing but the files it is given.

``verify.py`` checks a ledger and recomputes what it cost; ``recompute.py`` does so for all that a
run promises (``folder.py``: where that is). ``transcripts.py`` checks a run's secure sums and the
models that follow (``archive.py``: what a run leaves for that; ``heads.py``: against the ledgers).
``cli.py`` is the command.
"""
