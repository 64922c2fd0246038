"""What an auditor runs: ``fl-audit``. It trusts nothing but the files it is given.

``verify.py`` checks a ledger and recomputes what it cost; ``cli.py`` is the command.
"""
