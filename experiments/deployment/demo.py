"""``make demo-deployment``: a whole federation on loopback, checked, compared, and stopped.

1. a coordinator and four brands with keys, certificates, policies, tables; nginx if it is there
2. ``experiment=conversion_deploy`` under ``privacy=distributed secure_sum=brandagg``, secure noise
3. the table; every ledger and the transcript by the auditor's code
4. the same again with a predictable (test-only) noise source, which the policies of this rehearsal
   allow, and once more in one process: the arrays must be equal bit by bit
5. seconds per round, also without a secure sum
"""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from experiments.deployment.checks import audited
from experiments.deployment.rehearsal import rehearse
from experiments.deployment.rows import Shares, shares
from experiments.deployment.world import World, has_nginx
from experiments.settings import settings
from fl.arrays import Arrays, from_bytes
from fl.models.parameters import load
from fl.report.metrics import METRICS
from fl.seeds import torch_generator
from server.files import RunFiles
from server.home import Home
from server.proposing import composed

EXPERIMENT = "experiment=conversion_deploy"
CLEAR = ("privacy=local", "privacy.customers=850", "secure_sum=plain")
TIMED = 5  # rounds of the run that is only timed


def main() -> None:
    """The command line: options of the experiment, such as ``rounds=3``."""
    sys.exit(demonstrate(sys.argv[1:]))


def demonstrate(options: list[str]) -> int:
    """All of it; 0 if everything held."""
    began = time.monotonic()
    how = settings(dict(composed([EXPERIMENT, "out=unused", *options])))
    rows = shares(how)
    with tempfile.TemporaryDirectory(prefix="crossbrand-demo-") as folder:
        world = World(Path(folder) / "world", tuple(rows.known), has_nginx())
        with contextlib.redirect_stdout(io.StringIO()):
            world.build(rows.known, rows.schema, rehearsal=True, min_brands=1)
        say(f"Four brands and a coordinator in {world.folder}")
        say(f"Proxy with mutual TLS: {'nginx' if world.proxy else 'not installed, left out'}")
        try:
            world.start("server")
            for brand in world.brands:
                world.start(brand)
            world.ready()
            say(f"All are connected after {time.monotonic() - began:.0f} s")
            real = conduct(world, options)
            repeated = conduct(world, [*options, "privacy.noise_source=insecure_noise_for_tests"])
            clear = conduct(world, [*options, f"rounds={TIMED}", *CLEAR])
        finally:
            world.stop()
        good = report(world, rows, real, repeated, clear)
    say(f"Everything stopped after {time.monotonic() - began:.0f} s")
    return 0 if good else 1


def conduct(world: World, options: list[str]) -> tuple[RunFiles, list[float]]:
    """One run to its end; its files, and the seconds of each round."""
    process = world.submit(EXPERIMENT, *options)
    said, run = process.stdout, ""
    for line in said or ():
        say(f"  {line.rstrip()}")
        if line.startswith("Run "):
            run = line.split()[1]
    if process.wait():
        raise RuntimeError("the run did not end well; see the lines above")
    files = RunFiles(Home(world.server), run)
    return files, [float(x) for x in json.loads((files.folder / "seconds.json").read_bytes())]


def report(
    world: World,
    rows: Shares,
    real: tuple[RunFiles, list[float]],
    repeated: tuple[RunFiles, list[float]],
    clear: tuple[RunFiles, list[float]],
) -> bool:
    """Print the table and the checks; whether all of them hold."""
    say("\nAUC on each brand's test rows, deployed model")
    for brand, value in scored(rows, model(real[0])).items():
        say(f"  {brand:<10} {value:.3f}")
    good = audited(world, real[0], say)
    local = rehearse(world, repeated[0].run, world.folder.parent / "rehearsal")
    same = equal(model(repeated[0]), local)
    say(f"{'PASS' if same else 'FAIL'}  arrays: deployed and in one process, same test-only noise")
    say("\nSeconds per round, median")
    say(f"  with the secure sum     {statistics.median(real[1]):.1f}")
    say(f"  without the secure sum  {statistics.median(clear[1]):.1f}")
    return good and same


def scored(rows: Shares, params: Arrays) -> dict[str, float]:
    """AUC of each brand."""
    net = rows.task.model(torch_generator(0, "unused initial weights"))
    load(net, params)
    found = {}
    for brand, table in rows.tables.items():
        test = rows.task.examples(*table.part("test"), brand)
        found[brand] = METRICS["auc"](rows.task.truth(test), rows.task.scores(net, test))
    return found


def model(files: RunFiles) -> Arrays:
    """What a run learned."""
    return from_bytes(files.model.read_bytes())


def equal(one: Arrays, other: Arrays) -> bool:
    """Bit by bit."""
    return set(one) == set(other) and all(np.array_equal(one[n], other[n]) for n in one)


def say(text: str) -> None:
    """A line for the reader."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
