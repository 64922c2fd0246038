"""What an auditor runs: ``fl-audit``. It trusts nothing but the files it is given.

``verify.py`` checks a ledger and recomputes what it cost; ``recompute.py`` does so for all that a
run promises; ``cli.py`` is the command.
"""
