"""``fl-server schedule``: start a run again and again, by the calendar or when brands ask."""

from __future__ import annotations

import argparse
import sys

from fl.commands import Command

ABOUT = """\
Propose and conduct the same run again: --every so many days since the newest run of the experiment,
or --when-asked by so many different brands since then. Brands ask with fl-node ask; put their files
into the folder asks/ of this home. Every brand still checks, signs and pays for every run.

It runs until stopped; a run that was refused or stopped is not tried again before it is due again.
Also good for a timer: with --once it looks once, starts a run if one is due, and ends.

Examples
  fl-server schedule experiment=conversion_deploy --every 30 --home coordinator
  fl-server schedule experiment=conversion_deploy --every 90 --when-asked 3 --home coordinator
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("options", nargs="+", metavar="OPTION=VALUE", help="as for submit")
    parser.add_argument("--every", type=float, metavar="DAYS", help="since the newest run began")
    parser.add_argument("--when-asked", type=int, metavar="N", help="as soon as N brands ask")
    parser.add_argument("--role", default="operator", help="in whose name (default: %(default)s)")
    parser.add_argument("--once", action="store_true", help="look once, and end")
    parser.add_argument(
        "--look", type=float, default=60.0, metavar="SECONDS", help="between two looks (60)"
    )


def _act(asked: argparse.Namespace) -> int:
    import signal
    import threading

    from fl.errors import InputError
    from server.commands.submit import conducted
    from server.files import RunFiles
    from server.home import Home
    from server.proposing import composed, propose
    from server.roster import cards, roster
    from server.schedule import Schedule, asking, newest, now

    home, schedule = Home(asked.home), Schedule(asked.every, asked.when_asked)
    values = composed([*asked.options, "out=unused"])
    experiment, stop, shown = str(values["experiment"]), threading.Event(), set[str]()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    while not stop.is_set():
        at, (last, waiting) = now(), newest(home, experiment)
        found, left = asking(home, roster(cards(home)), experiment, last, at)
        for path, why in left.items():
            if (line := f"{path.name} does not count: {why}\n") not in shown:
                shown.add(line)
                sys.stderr.write(f"fl-server: {line}")
        why = "it could not begin last time" if waiting else schedule.due(last, len(found), at)
        code = 0
        if why:
            files = RunFiles(home, waiting) if waiting else propose(home, values, asked.role)
            sys.stdout.write(f"Run {files.run}: {why}\n")
            try:
                code = conducted(files, detach=False, stop=stop)
            except InputError as error:  # Flower's server is away: the run begins at a later look
                sys.stderr.write(f"fl-server: {error}\n")
                code = 2
        elif asked.once:
            sys.stdout.write(f"Nothing is due; {len(found)} brands ask for {experiment}.\n")
        if asked.once:
            return code
        stop.wait(asked.look)
    return 0


COMMAND = Command("schedule", "start a run again when it is due", ABOUT, _options, _act)
