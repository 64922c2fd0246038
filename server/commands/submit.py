"""``fl-server submit`` and ``fl-server resume``: start a run, and take it up again."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fl.commands import Command

if TYPE_CHECKING:
    import threading

    from server.files import RunFiles

MOST_LOST = 3  # times in a row without a finished round

SUBMIT = """\
Propose a run to all enrolled brands, and conduct it: the experiment's config becomes a plan that
this coordinator signs, every brand checks and signs, and no brand can be asked to deviate from. One
seed is run; arms, tuning and plans are for benchmarks.

With data=table a run is on columns of your own: data.columns and data.label are what the mapping of
every brand must offer. No file is read here.

The command follows the run and takes it up again when Flower's server or the coordinator's process
is lost. Stop following with Ctrl-C; the run goes on.

Examples
  fl-server submit experiment=conversion_deploy --home coordinator
  fl-server submit experiment=conversion_deploy rounds=10 privacy.epsilon=1 --home coordinator
  fl-server submit experiment=conversion_deploy data=table data.label=converted \\
    privacy.customers=300 "data.columns={age: {low: 18, high: 90}, city: {values: [north, south]}}"
"""

RESUME = """\
Take up a run that was stopped: its coordinator goes on from the last checkpoint, in the middle of a
round if need be, as a new Flower run. No brand is charged twice.

Example
  fl-server resume conversion_deploy/9f86d0... --home coordinator
"""


def _submit_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("options", nargs="+", metavar="OPTION=VALUE", help="as for fl-run")
    parser.add_argument("--role", default="operator", help="in whose name (default: %(default)s)")
    parser.add_argument("--detach", action="store_true", help="do not follow the run")


def _resume_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="its id")
    parser.add_argument("--detach", action="store_true", help="do not follow the run")


def _submit(asked: argparse.Namespace) -> int:
    from fl.errors import InputError
    from server.home import Home, read_config
    from server.proposing import composed, described, propose

    home, values = Home(asked.home), composed([*asked.options, "out=unused"])
    read_config(home)
    if not (home.superlink / "ready").exists():
        raise InputError("server", "is not ready", "run fl-server start --proxy beside this")
    files = propose(home, values, asked.role)
    sys.stdout.write(f"Run {files.run}\n")
    sys.stdout.write("".join(f"  {line}\n" for line in described(files, values)))
    return conducted(files, detach=asked.detach)


def _resume(asked: argparse.Namespace) -> int:
    from fl.errors import InputError
    from server.files import RunFiles
    from server.home import Home

    files = RunFiles(Home(asked.home), asked.run)
    if files.offer and files.status()["state"] == "done":
        raise InputError("RUN", "is done already", "see its model.npz")
    if "why" in files.status():  # it stopped once: that is no news any more
        files.say("resuming", files.number)
    return conducted(files, detach=asked.detach)


def conducted(files: RunFiles, *, detach: bool, stop: threading.Event | None = None) -> int:
    """Submit to Flower, and follow ``status.json`` until the end, or until ``stop``; submit again
    when Flower's run is lost.
    """
    import threading
    import time

    from fl.errors import InputError
    from server.files import stands
    from server.superlink import flower_status, submit

    sys.stdout.flush()
    flower = submit(files.home, files.run)
    if detach:
        return 0
    shown: object = None
    looked, stop = time.monotonic(), stop or threading.Event()
    losses, begun = Losses(), False
    while not stop.is_set():
        held = files.is_held  # before the status: what ends a run is said while it is held
        said, begun = files.status(), begun or held
        line = stands(said)
        if line != shown:
            sys.stdout.write(f"  {line}\n")
            sys.stdout.flush()
            shown = line
        if said["state"] == "done":
            return 0
        if said["state"] in ("refused", "stopped") and "why" in said:
            sys.stderr.write(f"fl-server: {said['why']}\n")
            return 1
        gone = begun and not held  # Flower itself notices after a minute
        if gone or time.monotonic() - looked > 20:
            looked = time.monotonic()
            try:
                over = flower_status(files.home, flower).startswith("finished")
                if gone or over:
                    flower, begun = _again(files, losses) or flower, False
            except InputError:  # the server is away; fl-server start brings it back
                stop.wait(2.0)
        stop.wait(0.5)
    return 0


def _again(files: RunFiles, losses: Losses) -> str:
    """Submit a run again whose Flower run is over and which is not; nothing where it is, too."""
    from server.superlink import submit

    if files.status()["state"] in ("done", "refused", "stopped"):
        return ""
    if losses.hopeless(files.number):
        why = f"Flower's run was lost {MOST_LOST} times without a finished round"
        with files.held():
            files.stop(f"{why}; see {files.log} and {files.home.superlink / 'superlink.log'}")
        return ""
    sys.stdout.write("  lost; taking it up again\n")
    sys.stdout.flush()
    return submit(files.home, files.run)


@dataclass(slots=True)
class Losses:
    """How often a Flower run was lost since the last finished round, ``number``."""

    number: int = -1
    times: int = 0

    def hopeless(self, number: int) -> bool:
        """Count one more loss, after round ``number``; whether it is one too many.

        >>> losses = Losses()
        >>> [losses.hopeless(n) for n in (0, 0, 4, 4, 4, 4)]
        [False, False, False, False, True, True]
        """
        self.times = self.times + 1 if number == self.number else 1
        self.number = number
        return self.times >= MOST_LOST


COMMAND = Command("submit", "propose a run and conduct it", SUBMIT, _submit_options, _submit)
RESUMES = Command("resume", "take up a stopped run", RESUME, _resume_options, _resume)
