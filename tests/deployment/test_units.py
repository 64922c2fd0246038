"""The units and the container file of README: what they call exists, and systemd reads them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clients.cli import command as node_command
from server.cli import command as server_command

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text("utf-8")
BIN = "/usr/local/crossbrand-fl/bin"
FILES = dict(re.findall(r"^# /etc/systemd/system/(\S+).*\n((?:(?!```|# /etc).*\n)+)", TEXT, re.M))
LINES = re.findall(rf"^ExecStart={BIN}/(.+)$", "".join(FILES.values()), re.M)


def test_there_is_a_unit_for_all_that_runs_by_itself() -> None:
    said = {line.split(" --")[0].split(" experiment")[0] for line in LINES}
    assert said == {
        "fl-node start",
        "fl-node refresh",
        "fl-server start",
        "fl-server schedule",
        "fl-server renew",
    }
    services = [name for name in FILES if name.endswith(".service")]
    assert len(services) == len(LINES)
    for name in FILES:
        timed = name.replace(".service", ".timer") in FILES
        assert ("[Install]" in FILES[name]) != (
            timed and name.endswith(".service")
        ) or ".d/" in name


@pytest.mark.parametrize("line", LINES)
def test_a_unit_calls_a_command_with_options_that_it_has(line: str, tmp_path: Path) -> None:
    program, *given = shlex.split(line)
    given[given.index("--home") + 1] = str(tmp_path / "nothing")
    command = {"fl-node": node_command, "fl-server": server_command}[program]
    assert command(given) == 2  # the line is understood, and there is nothing at home


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing")
def test_systemd_takes_every_unit(tmp_path: Path) -> None:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace(BIN, str(Path(sys.executable).parent)))
    units = [
        str(tmp_path / name).replace("@.", "@winter.1a.") for name in FILES if ".d/" not in name
    ]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
