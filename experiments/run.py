"""``fl-run``: run, sweep and resume cross-brand experiments. Starts fast: imports on demand."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

HELP = """\
fl-run: does a brand do better by training together than alone, without any record leaving?

Usage
  fl-run experiment=NAME out=DIR [OPTION=VALUE ...]   run one experiment
  fl-run -m OPTION=A,B out=DIR ...                     run every combination, one folder each
  fl-run resume=DIR                                    take up a run that was killed
  fl-run experiment=NAME --cfg job                     print the resolved config, run nothing

Experiments (conf/experiment; the first line of each file is its question)
{experiments}

Options (any value of any config file can be given as GROUP.KEY=VALUE)
{groups}
  rounds=20  seeds=5 or seeds=[0,1]  arms=[alone,federated,finetuned,pooled]
  training.learning_rate=0.1  tuning.budget=4  runtime.workers=2  preparation.test=0.3

Your own file
  fl-run data=table data.path=crm.csv data.label=conversion_flag data.brand_column=shop \\
         privacy=none secure_sum=plain out=DIR
  Without a brand column, let the benchmark make brands: partition=iid partition.brands=5.

Files in DIR
  results.json   one flat row per arm, brand and metric, with 95 % intervals over seeds
  run.json       resolved config, versions, commit, seeds, seconds, what evaluation saw
  report.html    the same to look at: arms per brand, learning curve, calibration
  models.npz     the federated model of each seed

Exit codes: 0 done, 2 a mistake in the input (one line says where and what to do), 130 interrupted.
"""


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
        return _dispatch(arguments)
    except InputError as error:
        sys.stderr.write(f"fl-run: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("fl-run: interrupted; take it up with fl-run resume=DIR\n")
        return 130


def _dispatch(arguments: list[str]) -> int:
    resumes = [a.partition("=")[2] for a in arguments if a.startswith("resume=")]
    if resumes:
        if len(arguments) > 1:
            from fl.errors import InputError

            raise InputError(
                "resume",
                "comes with other options",
                "a resumed run keeps its own; give resume only",
            )
        from experiments.compare import resume

        resume(resumes[0])
        return 0
    _hydra(arguments)
    return 0


def _hydra(arguments: list[str]) -> None:
    """Let Hydra compose (and sweep), with its own messages turned into ours."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let exceptions through to us
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from fl.errors import InputError

    main = hydra.main(version_base="1.3", config_path="pkg://conf", config_name="config")
    sys.argv = ["fl-run", *arguments]
    try:
        main(_one)()
    except (HydraException, OmegaConfBaseException) as error:
        raise _explained(str(error)) from error
    except InputError:
        raise


def _one(config: DictConfig) -> None:
    from omegaconf import OmegaConf

    from experiments.compare import run

    values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    if isinstance(values, dict):
        run({str(key): value for key, value in values.items()})


def _explained(text: str) -> Exception:
    """Hydra's message as field, problem and remedy."""
    import re

    from fl.errors import InputError

    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    if found := re.search(r"You must specify '(\w+)'", text):
        group = found.group(1)
        return InputError(group, "not chosen", f"give {group}=NAME, one of {_names(group)}")
    if found := re.search(r"Could not find '([\w-]+)/(.+?)'", text):
        group, name = found.group(1), found.group(2)
        return InputError(group, f"{name!r} is not known", f"choose one of {_names(group)}")
    if found := re.search(r"Key '(\w+)' is not in struct", text):
        full = re.search(r"full_key: (\S+)", text)
        field = full.group(1) if full else found.group(1)
        return InputError(field, "no such key", "see fl-run --help, or --cfg job for all keys")
    if found := re.search(r"Missing mandatory value: (\S+)", text):
        return InputError(found.group(1), "has no value", f"give {found.group(1)}=VALUE")
    return InputError("command line", lines[0].rstrip("."), "see fl-run --help")


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
        f"  {file.name.removesuffix('.yaml'):<18}{_question(file.read_text())}"
        for file in files
        if file.name.endswith(".yaml")
    )
    shown = ("data", "partition", "model", "algorithm", "privacy", "secure_sum", "task", "runtime")
    groups = "\n".join(f"  {group + '=':<12}{_names(group)}" for group in shown)
    return HELP.format(experiments=experiments, groups=groups)


def _question(text: str) -> str:
    return next((line.lstrip("# ") for line in text.splitlines() if line.endswith("?")), "")


if __name__ == "__main__":
    main()
