"""The shell around a command with sub-commands: help that teaches, one line for a mistake.

A sub-command is one small file with a :class:`Command`; the program lists them. Files import what
is heavy inside ``act``, so that help is fast.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fl.errors import InputError, Refused

CODES = "Exit codes: 0 done, 1 something is not in order, 2 a mistake in what was asked."


@dataclass(frozen=True, slots=True)
class Command:
    """One sub-command.

    Attributes:
        name: as typed.
        summary: one line for the list.
        about: the help text, with an example.
        options: adds the arguments; ``--home`` is there already, if the program has one.
        act: does it and returns the exit code; ``asked.home`` is the folder.
    """

    name: str
    summary: str
    about: str
    options: Callable[[argparse.ArgumentParser], None]
    act: Callable[[argparse.Namespace], int]


@dataclass(frozen=True, slots=True)
class Program:
    """A command such as ``fl-node``.

    Attributes:
        name, about: for the help.
        commands: in the order of the help.
        home: name of the environment variable that gives the folder, and its default; None for a
            program without one.
    """

    name: str
    about: str
    commands: tuple[Command, ...]
    home: tuple[str, str] | None = None

    def main(self) -> None:
        """The command line."""
        sys.exit(self.run(sys.argv[1:]))

    def run(self, arguments: Sequence[str]) -> int:
        """Run ``arguments`` and return the exit code."""
        parser, acts = self._parser()
        if not arguments:
            parser.print_help()
            return 0
        try:
            asked = parser.parse_args(arguments)
        except SystemExit as stop:  # argparse has said why, or printed its help
            return int(stop.code or 0)
        try:
            return acts[asked.command](asked)
        except InputError as error:
            return self._mistake(" ".join(str(error).split()))
        except Refused as refusal:
            return self._mistake(f"this is refused: {refusal.code}")
        except OSError as error:
            named = f": {error.filename!r}" if error.filename else ""
            text = f"{error.strerror or type(error).__name__}{named}"
            return self._mistake(f"{text}. To fix it: check path, permissions and space left.")
        except KeyboardInterrupt:
            sys.stderr.write(f"{self.name}: interrupted\n")
            return 130

    def _mistake(self, text: str) -> int:
        sys.stderr.write(f"{self.name}: {text}\n")
        return 2

    def _parser(
        self,
    ) -> tuple[argparse.ArgumentParser, dict[str, Callable[[argparse.Namespace], int]]]:
        shape = argparse.RawDescriptionHelpFormatter
        parser = argparse.ArgumentParser(
            self.name, description=self.about, epilog=CODES, formatter_class=shape
        )
        inner = parser.add_subparsers(
            title="commands", metavar="COMMAND", dest="command", required=True
        )
        for command in self.commands:
            one = inner.add_parser(
                command.name,
                help=command.summary,
                description=command.about,
                epilog=CODES,
                formatter_class=shape,
            )
            if self.home is not None:
                variable, default = self.home
                one.add_argument(
                    "--home",
                    type=Path,
                    metavar="DIR",
                    default=Path(os.environ.get(variable) or default),
                    help=f"its folder (default: ${variable}, else ./{default})",
                )
            command.options(one)
        return parser, {command.name: command.act for command in self.commands}


def no_options(parser: argparse.ArgumentParser) -> None:
    """For a command without arguments of its own."""
