"""``fl-node``: a brand's side, for its engineer. Starts fast: sub-commands import on demand."""

from __future__ import annotations

from clients.commands import (
    alerts,
    approve,
    ask,
    check,
    init,
    join,
    ledger,
    outcomes,
    preview,
    refresh,
    score,
    start,
    statement,
    status,
)
from fl.commands import Program

ABOUT = """\
fl-node: take part in federated runs from beside your own database.

No record leaves. A run starts only if your policy allows it and its plan carries the signatures
you ask for; every use of the data is booked in your own ledger before it happens. Whatever the
coordinator sends cannot loosen what is written on this disk.

From zero to the first round
  fl-node init     keys and files            (once)
  fl-node join     what the coordinator sent (once)
  fl-node check    data, policy, certificates, clock
  fl-node start    run the node
  fl-node approve  agree to a run            (where the policy asks for a person)
  fl-node status   runs, answers, budget left

With your own data and a model, at any time
  fl-node preview  your features, for your own eyes
  fl-node score    your customers, for your teams
  fl-node alerts   your messages to answer first
  fl-node refresh  has anything changed?
  fl-node ask      then ask for a new run
"""

PROGRAM = Program(
    "fl-node",
    ABOUT,
    (
        init.COMMAND,
        join.COMMAND,
        check.COMMAND,
        preview.COMMAND,
        start.COMMAND,
        approve.COMMAND,
        status.COMMAND,
        ledger.COMMAND,
        statement.COMMAND,
        score.COMMAND,
        outcomes.COMMAND,
        alerts.COMMAND,
        refresh.COMMAND,
        ask.COMMAND,
    ),
    ("FL_NODE_HOME", "fl-node"),
)
main, command = PROGRAM.main, PROGRAM.run

if __name__ == "__main__":
    main()
