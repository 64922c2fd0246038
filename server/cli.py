"""``fl-server``: the coordinator's side. Starts fast: sub-commands import on demand."""

from __future__ import annotations

from fl.commands import Program
from server.commands import enrol, init, renew, schedule, start, status, submit

ABOUT = """\
fl-server: coordinate federated runs of brands. It relays, adds encrypted updates and keeps the
model; it never sees a record, and under a secure sum no single update either.

From zero to the first run
  fl-server init      certificates, keys, bundle, proxy configuration   (once)
  fl-server enrol     the card of every brand                           (once each)
  fl-server welcome   what each brand is sent                           (when the roster changes)
  fl-server start     Flower's server on loopback, the proxy in front of it
  fl-server submit    propose a run and conduct it
  fl-server schedule  again every so many days, or when enough brands ask
  fl-server status    brands, certificates and runs
  fl-server renew     certificates, which are for a year
"""

PROGRAM = Program(
    "fl-server",
    ABOUT,
    (
        init.COMMAND,
        enrol.COMMAND,
        enrol.WELCOMES,
        start.COMMAND,
        submit.COMMAND,
        submit.RESUMES,
        schedule.COMMAND,
        status.COMMAND,
        renew.COMMAND,
    ),
    ("FL_SERVER_HOME", "fl-server"),
)
main, command = PROGRAM.main, PROGRAM.run

if __name__ == "__main__":
    main()
