"""``fl-run``: run, sweep and resume cross-brand experiments. Starts fast: imports on demand."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from omegaconf import DictConfig

    from experiments.ready import Shelf
    from experiments.sweep import Sweep
    from fl.errors import InputError

HELP = """\
fl-run: does a brand do better by training together than alone, without any record leaving?

Usage
  fl-run experiment=NAME out=DIR [OPTION=VALUE ...]   run one experiment
  fl-run -m OPTION=A,B out=DIR ...                     run every combination, one folder each;
                                                       DIR/sweep.html compares them; the same
                                                       command again takes up what was killed
  fl-run resume=DIR                                    take up a run that was killed
  fl-run experiment=NAME --cfg job                     print the resolved config, run nothing

Experiments (conf/experiment; each file begins with its question)
{experiments}

Options (any value of any config file can be given as GROUP.KEY=VALUE)
{groups}
  rounds=20  seeds=5 or seeds=[0,1]  arms=[alone,federated,finetuned,pooled]
  privacy=local privacy.epsilon=3  secure_sum=brandagg  plans, epsilons: see privacy_utility
  training.learning_rate=0.1  tuning.budget=4  runtime.workers=2  preparation.test=0.3

Your own file
  fl-run data=table data.path=crm.csv data.label=conversion_flag data.brand_column=shop \\
         privacy=none secure_sum=plain out=DIR
  Without a brand column, let the benchmark make brands: partition=iid partition.brands=5.

Files in DIR
  results.json   one flat row per arm, brand and metric, with 95 % intervals over seeds
  run.json       resolved config, versions, commit, seeds, seconds, what evaluation saw
  report.html    the same to look at: arms per brand, learning curve, calibration
  models.npz     the models of each seed: federated under each guarantee, central_dp, pooled
  ledgers/       what each brand booked, where an arm promises something (fl-audit epsilon DIR)
  transcripts/   the rounds of a secure sum (fl-audit transcript DIR)

Exit codes: 0 done, 2 a mistake in the input (one line says where and what to do), 130 interrupted.
"""

_FLAGS = {
    *("-m", "--multirun", "-c", "--cfg", "-p", "--package", "--resolve"),
    *("-i", "--info", "--version"),  # no other config folder: Hydra runs what a file there names
}
_OPEN = (
    *("task.rules", "task.caps", "data.columns", "plans", "by_epsilon"),
    *("tuning.alone", "tuning.federated", "tuning.finetuned", "tuning.pooled"),
)


def main() -> None:
    """The command line."""
    sys.exit(command(sys.argv[1:]))


def command(arguments: list[str]) -> int:
    """Run ``arguments`` and return the exit code."""
    if not arguments or {"--help", "-h"} & set(arguments):
        sys.stdout.write(_help())
        return 0
    from fl.errors import InputError

    try:
        _dispatch(arguments)
    except InputError as error:
        sys.stderr.write(f"fl-run: {' '.join(str(error).split())}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("fl-run: interrupted; take it up with fl-run resume=DIR\n")
        return 130
    return 0


def _dispatch(arguments: list[str]) -> None:
    from fl.errors import InputError

    for argument in arguments:
        if argument.startswith("-") and argument.partition("=")[0] not in _FLAGS:
            raise InputError("command line", f"no option {argument!r}", "see fl-run --help")
        if argument.lstrip("+~").startswith(("hydra.", "hydra/")):
            raise InputError("hydra", "is not configured here: it imports names", "leave it out")
    resumes = [a.partition("=")[2] for a in arguments if a.startswith("resume=")]
    if not resumes:
        _hydra(arguments)
        return
    if len(arguments) > 1:
        raise InputError(
            "resume", "comes with other options", "a resumed run keeps its own; give resume only"
        )
    from experiments.compare import resume

    try:
        resume(resumes[0])
    except OSError as error:
        raise _of_the_system(error) from error


def _hydra(arguments: list[str]) -> None:
    """Let Hydra compose (and sweep), with its own messages turned into ours.

    A mistake found in a job is kept aside and raised when Hydra is done, because Hydra would print
    lines of its own about it. In a sweep the other jobs run nevertheless.
    """
    import tempfile

    import hydra
    from hydra.errors import HydraException

    from fl.errors import InputError

    os.environ["HYDRA_FULL_ERROR"] = "1"  # let exceptions through to us
    mistakes: list[InputError] = []
    sweep: list[Sweep] = []

    def job(config: DictConfig) -> None:
        try:
            if not (sweeps or mistakes):
                _one(config)
            elif sweeps:
                if not sweep:
                    from experiments.sweep import Sweep

                    sweep.append(Sweep())
                name = _job_folder(arguments)
                sweep[0].one(name, _root(config), partial(_one, config, name))
        except InputError as error:
            mistakes.append(error)
        except OSError as error:
            mistakes.append(_of_the_system(error))

    main = hydra.main(version_base="1.3", config_path="pkg://conf", config_name="config")
    sweeps = [a for a in arguments if a in ("-m", "--multirun")]  # read only in front of the rest
    rest = [_opened(a) for a in arguments if a not in sweeps]
    try:
        with tempfile.TemporaryDirectory() as scratch:  # Hydra puts its multirun.yaml there
            folder = [f"hydra.sweep.dir='{scratch}'"] if sweeps else []
            sys.argv = ["fl-run", *sweeps, *rest, *folder]
            main(job)()
    except HydraException as error:
        raise _explained(error) from error
    except ValueError as error:
        if "Config group override must be" not in str(error):
            raise
        raise InputError("command line", "a group is null", "choose NAME in GROUP=NAME") from error
    if sweep and (failed := sweep[0].finish()) is not None:
        mistakes.append(failed)
    if mistakes:
        raise mistakes[0]


def _opened(argument: str) -> str:
    """Let the keys of a mapping that has no fixed keys be set like any other."""
    return f"++{argument}" if argument.startswith(_OPEN) else argument


def _one(config: DictConfig, folder: str = "", shelf: Shelf | None = None) -> None:
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from experiments.compare import one_of_many, run
    from experiments.questions.inquiry import idle
    from fl.errors import InputError

    try:
        values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise _explained(error) from error
    if not isinstance(values, dict):
        raise TypeError(f"Expected a mapping, got {type(values).__name__}.")
    if not values["out"]:
        raise InputError("out", "is empty", "name a folder, out=DIR")
    values["out"] = os.path.join(str(values["out"]), folder)
    named = {str(key): value for key, value in values.items()}
    if unused := idle(named, HydraConfig.get().overrides.task):
        one = f"{', '.join(unused)}: no part of a task that counts and trains nothing"
        sys.stderr.write(f"fl-run: {one}\n")
    try:
        run(named) if shelf is None else one_of_many(named, shelf)
    except OSError as error:
        raise _of_the_system(error) from error


def _root(config: DictConfig) -> Path:
    """The folder of a whole sweep."""
    from pathlib import Path

    from omegaconf import OmegaConf

    from fl.errors import InputError

    if OmegaConf.is_missing(config, "out") or not config["out"]:
        raise InputError("out", "has no value", "give out=DIR")
    return Path(str(config["out"]))


def _job_folder(arguments: list[str]) -> str:
    """Of a sweep, what tells this job from the others."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.override_parser.overrides_parser import OverridesParser

    plain = [_opened(a) for a in arguments if "=" in a and not a.startswith("-")]
    asked = OverridesParser.create().parse_overrides(plain)
    swept = {o.key_or_group for o in asked if o.is_sweep_override()} - {"out"}
    own = [o.lstrip("+") for o in HydraConfig.get().overrides.task]
    name = ",".join(o for o in own if o.partition("=")[0] in swept).replace("/", "_")
    return name if len(name.encode()) < 200 else str(HydraConfig.get().job.num)


def _of_the_system(error: OSError) -> InputError:
    from fl.errors import InputError

    what = f"{error.strerror or error}" + (f": {error.filename!r}" if error.filename else "")
    return InputError("files", what, "check the path, its permissions and the space left")


def _explained(error: Exception) -> InputError:
    """Hydra's message as field, problem and remedy."""
    import re

    from fl.errors import InputError

    text = f"{error}\n{error.__cause__ or ''}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if found := re.search(r"You must specify '(\w+)'", text):
        group = found.group(1)
        return InputError(group, "not chosen", f"give {group}=NAME, one of {_names(group)}")
    if found := re.search(r"Could not find '([\w-]+)/(.+?)'", text):
        group, name = found.group(1), found.group(2)
        return InputError(group, f"{name!r} is not known", f"choose one of {_names(group)}")
    if found := re.search(r"Key '[^']+' is not in struct\s+full_key: (\S+)", text):
        return InputError(
            found.group(1), "no such key", "see fl-run --help, or --cfg job for all keys"
        )
    if found := re.search(r"Missing mandatory value: (\S+)", text):
        return InputError(found.group(1), "has no value", f"give {found.group(1)}=VALUE")
    if found := re.search(r"Ambiguous value for argument '([^=]+)=", text):
        return InputError(found.group(1), "has several values", "add -m to run each, or use [A,B]")
    return InputError("command line", lines[0].rstrip("."), "write OPTION=VALUE; see fl-run --help")


def _names(group: str) -> str:
    from importlib import resources

    folder = resources.files("conf").joinpath(group)
    names = (
        sorted(f.name.removesuffix(".yaml") for f in folder.iterdir()) if folder.is_dir() else []
    )
    return ", ".join(name for name in names if not name.startswith("_"))


def _help() -> str:
    from importlib import resources

    files = sorted(resources.files("conf").joinpath("experiment").iterdir(), key=lambda f: f.name)
    experiments = "\n".join(
        f"  {file.name.removesuffix('.yaml'):<20}{_question(file.read_text())}"
        for file in files
        if file.name.endswith(".yaml")
    )
    shown = ("data", "partition", "model", "algorithm", "privacy", "secure_sum", "task", "runtime")
    groups = "\n".join(_wrapped(f"  {group + '=':<12}", _names(group)) for group in shown)
    return HELP.format(experiments=experiments, groups=groups)


def _wrapped(start: str, text: str) -> str:
    from textwrap import fill

    return fill(text, 100, initial_indent=start, subsequent_indent=" " * len(start))


def _question(text: str) -> str:
    return next((line.lstrip("# ") for line in text.splitlines() if line.endswith("?")), "")


if __name__ == "__main__":
    main()
