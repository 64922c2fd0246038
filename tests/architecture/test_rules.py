"""House rules that a linter cannot say, checked on the syntax tree. Each rule is shown to fail.

A rule takes one file and yields what is wrong with it, as ``path:line: problem``. ``CASES`` says
where each rule holds, what it must reject and what it must accept.
"""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SEEDS = "fl/seeds.py"  # the one file that may make and seed generators
COMMANDS = {"experiments/run.py", "clients/cli.py", "server/cli.py", "fl/audit/cli.py"}  # may print
LONG = {"fl/contracts.py"}  # may be longer than SOFT lines, never longer than HARD
SOFT, HARD = 300, 450

SEEDING = {"manual_seed", "manual_seed_all", "seed_all", "set_rng_state", "seed_everything"}
DRAWS = {"rand", "randn", "randint", "randperm", "normal", "multinomial", "bernoulli", "poisson"}
DRAWS_IN_PLACE = {"uniform_", "normal_", "bernoulli_", "exponential_", "random_", "geometric_"}
UNSAFE_MODULES = {"pickle", "shelve", "marshal", "dill", "cloudpickle", "joblib"}
UNSAFE_NAMES = {"eval", "exec", "__import__", "instantiate"}
UNSAFE_ATTRIBUTES = {"instantiate", "import_module", "read_pickle", "to_pickle"}
EMPTY_NAMES = {"utils", "util", "common", "base", "helpers", "helper", "misc"}


@dataclass(frozen=True)
class Source:
    """One Python file."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    def at(self, node: ast.AST, problem: str) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {problem}"


def files(*packages: str) -> Iterator[Source]:
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))


# ------------------------------------------------------------------------------ rules


def seeds_only_in_seeds(source: Source) -> Iterator[str]:
    """Opacus draws noise from torch's global generator: seeding it makes noise repeatable."""
    if source.path == SEEDS:
        return
    for node in ast.walk(source.tree):
        if _name(node) in SEEDING or _getattr(node) in SEEDING:
            yield source.at(node, "seeds a generator outside fl/seeds.py")


def no_global_randomness(source: Source) -> Iterator[str]:
    """Randomness is a parameter; generators are made in fl.seeds."""
    if source.path == SEEDS:
        return
    for node in ast.walk(source.tree):
        if any(m == "random" or m.startswith("numpy.random") for m in _imports(node)):
            yield source.at(node, "imports random or numpy.random; use fl.seeds")
        if isinstance(node, ast.Attribute) and _dotted(node) in {"np.random", "numpy.random"}:
            yield source.at(node, "uses numpy.random; use fl.seeds")


def torch_draws_name_their_generator(source: Source) -> Iterator[str]:
    """A draw without ``generator=`` reads (and moves) the global generator."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name = _dotted(node.func)
        drawn = name.startswith("torch.") and name.removeprefix("torch.") in DRAWS
        if not (drawn or node.func.attr in DRAWS_IN_PLACE):
            continue
        if "generator" not in {k.arg for k in node.keywords}:
            yield source.at(node, f"{node.func.attr} without generator=")


def no_assert(source: Source) -> Iterator[str]:
    """``python -O`` removes asserts, and validation with them."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Assert):
            yield source.at(node, "assert; raise an error")


def no_code_from_data(source: Source) -> Iterator[str]:
    """Nothing that came over the wire or from a config may become code."""
    for node in ast.walk(source.tree):
        if any(m.split(".")[0] in UNSAFE_MODULES for m in _imports(node)):
            yield source.at(node, "imports a module that runs code from data")
        if isinstance(node, ast.Name) and node.id in UNSAFE_NAMES:
            yield source.at(node, f"uses {node.id}")
        if isinstance(node, ast.ImportFrom) and UNSAFE_NAMES & {a.name for a in node.names}:
            yield source.at(node, "imports a function that runs code from data")
        if isinstance(node, ast.Attribute) and (
            node.attr in UNSAFE_ATTRIBUTES
            or _dotted(node) in {"torch.load", "builtins.eval", "builtins.exec"}
        ):
            yield source.at(node, f"uses {_dotted(node)}")
        if "torch.load" in _imports(node):
            yield source.at(node, "imports torch.load")
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and not _is_false(node):
            yield source.at(node.value, "allow_pickle is not False")


def print_only_in_commands(source: Source) -> Iterator[str]:
    """Libraries log or return."""
    if source.path in COMMANDS:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Name) and node.id == "print":
            yield source.at(node, "prints outside a command")


def no_swallowed_errors(source: Source) -> Iterator[str]:
    """An error is handled, translated or let through; never dropped unseen."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler):
            if node.type is None:
                yield source.at(node, "bare except")
            if all(_is_nothing(statement) for statement in node.body):
                yield source.at(node, "handler does nothing")
        suppressed = isinstance(node, ast.Call) and _name(node.func) == "suppress"
        if suppressed and {"Exception", "BaseException"} & {_name(a) for a in node.args}:
            yield source.at(node, "suppresses every exception")


def files_are_short(source: Source) -> Iterator[str]:
    """A file has one idea."""
    lines = len(source.text.splitlines())
    limit = HARD if source.path in LONG else SOFT
    if lines > limit:
        yield f"{source.path}: {lines} lines, more than {limit}"


def files_are_named_for_an_idea(source: Source) -> Iterator[str]:
    """``utils`` says nothing and collects everything."""
    if Path(source.path).stem in EMPTY_NAMES:
        yield f"{source.path}: the name says nothing"


def public_things_have_docstrings(source: Source) -> Iterator[str]:
    """Modules, public classes, public functions."""
    tree = source.tree
    if ast.get_docstring(tree) is None:
        yield source.at(tree, "module without docstring")
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if not node.name.startswith("_") and ast.get_docstring(node) is None:
            yield source.at(node, f"{node.name} without docstring")


# ---------------------------------------------------------------------------- helpers


def _name(node: ast.AST | None) -> str:
    """``f`` for both ``f`` and ``a.b.f``; empty for anything else."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _dotted(node: ast.AST) -> str:
    """``a.b.c`` as text; empty parts for what is not a name."""
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _getattr(node: ast.AST) -> str:
    """The name that ``getattr(thing, "name")`` asks for."""
    if isinstance(node, ast.Call) and _name(node.func) == "getattr" and len(node.args) > 1:
        asked = node.args[1]
        return str(asked.value) if isinstance(asked, ast.Constant) else ""
    return ""


def _imports(node: ast.AST) -> list[str]:
    """Full names of the modules (or of what is taken from them) that ``node`` imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def _is_false(keyword: ast.keyword) -> bool:
    return isinstance(keyword.value, ast.Constant) and keyword.value.value is False


def _is_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Pass)


# ------------------------------------------------------------------------------ tests

ALL = ("fl", "clients", "server", "experiments")
Rule = Callable[[Source], Iterator[str]]


@dataclass(frozen=True)
class Case:
    """A rule, where it holds, what it must reject and what it must accept."""

    rule: Rule
    where: tuple[str, ...]
    bad: tuple[str, ...]
    good: str
    path: str = "fl/snippet.py"


CASES = (
    Case(
        seeds_only_in_seeds,
        ALL,
        (
            "torch.manual_seed(0)",
            "torch.Generator().manual_seed(0)",
            "from torch import manual_seed\nmanual_seed(0)",
            "seed = getattr(torch, 'manual_seed')",
            "torch.cuda.manual_seed_all(1)",
        ),
        "rng = numpy_generator(0, 'split')",
    ),
    Case(
        no_global_randomness,
        ALL,
        (
            "import random",
            "from random import shuffle",
            "import numpy.random as r",
            "from numpy import random",
            "from numpy.random import Generator",
            "x = np.random.default_rng(0)",
            "def f(rng: np.random.Generator): ...",
        ),
        "from fl.seeds import Generator\nimport secrets\nx = rng.random(3)",
    ),
    Case(
        torch_draws_name_their_generator,
        ALL,
        ("torch.randn(3)", "weight.uniform_(-1, 1)", "nn.init.normal_(weight)"),
        "torch.randn(3, generator=rng)\nrng.normal(size=3)",
    ),
    Case(no_assert, ALL, ("assert x > 0",), "if x <= 0:\n    raise ValueError(x)"),
    Case(
        no_code_from_data,
        ALL,
        (
            "eval('1')",
            "exec('x = 1')",
            "__import__('os')",
            "import pickle",
            "from pickle import loads",
            "import shelve",
            "torch.load('m.pt')",
            "from torch import load",
            "from hydra.utils import instantiate",
            "hydra.utils.instantiate(config)",
            "importlib.import_module(name)",
            "np.load(path, allow_pickle=True)",
        ),
        "model.eval()\nnp.load(path, allow_pickle=False)\nload(model, arrays)",
    ),
    Case(print_only_in_commands, ALL, ("print('x')",), "logging.getLogger('x').info('x')"),
    Case(
        no_swallowed_errors,
        ALL,
        (
            "try:\n    f()\nexcept:\n    g()",
            "try:\n    f()\nexcept Exception:\n    pass",
            "try:\n    f()\nexcept ValueError:\n    ...",
            "with contextlib.suppress(Exception):\n    f()",
        ),
        "try:\n    f()\nexcept ValueError as error:\n    raise InputError() from error",
    ),
    Case(files_are_short, ("fl", "clients", "server"), ("x = 1\n" * (SOFT + 1),), "x = 1\n" * SOFT),
    Case(files_are_short, (), ("x = 1\n" * (HARD + 1),), "x = 1\n" * HARD, path="fl/contracts.py"),
    Case(files_are_named_for_an_idea, ALL, (), "x = 1"),
    Case(files_are_named_for_an_idea, (), ("x = 1",), "", path="fl/utils.py"),
    Case(
        public_things_have_docstrings,
        ("fl",),
        (
            "x = 1",
            '"""M."""\nclass A:\n    pass',
            '"""M."""\ndef f():\n    return 1',
        ),
        '"""M."""\nclass A:\n    """A."""\ndef _f():\n    return 1',
    ),
)


BAD = [
    pytest.param(case, snippet, id=f"{case.rule.__name__}-{number}")
    for case in CASES
    for number, snippet in enumerate(case.bad)
]


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.where], ids=[c.rule.__name__ for c in CASES if c.where]
)
def test_the_code_keeps_the_rule(case: Case) -> None:
    found = [problem for source in files(*case.where) for problem in case.rule(source)]
    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize(("case", "snippet"), BAD)
def test_the_rule_can_fail(case: Case, snippet: str) -> None:
    assert list(case.rule(Source(case.path, snippet)))


@pytest.mark.parametrize("case", CASES, ids=[c.rule.__name__ for c in CASES])
def test_the_rule_accepts_good_code(case: Case) -> None:
    path = "fl/snippet.py" if case.path == "fl/utils.py" else case.path
    assert not list(case.rule(Source(path, case.good)))


def test_there_is_code_to_check() -> None:
    assert {source.path for source in files(*ALL)} >= {"fl/contracts.py", "fl/round.py", SEEDS}


def test_exceptions_are_still_needed() -> None:
    long = {s.path for s in files("fl", "clients", "server") if len(s.text.splitlines()) > SOFT}
    assert not LONG - long, "these files became short: remove them from LONG"


# ----------------------------------------------------- configs, package list, other files

# Joined here, so that this file does not contain what it looks for.
FORBIDDEN_WORDS = ("index" + "-url", "pypi" + ".org", "debian" + ".org", "registry" + ".npmjs")
MACHINE_PATH = re.compile(r"(?<![\w.~$})-])/(?:home|Users|root|work|mnt|opt)/\w|\b[A-Z]:\\Users\\")


def config_problems(path: str, text: str) -> Iterator[str]:
    """Values only; an experiment starts with its question, below the header that Hydra wants."""
    if re.search(r"^[^#]*_target_", text, re.MULTILINE):
        yield f"{path}: has a _target_"
    if not path.startswith("conf/experiment/"):
        return
    header, first, *others = [*text.split("\n"), "", ""]
    if header != "# @package _global_":
        yield f"{path}: the first line is not # @package _global_"
    if not re.fullmatch(r"# .*\?", first):
        yield f"{path}: the second line is not a question"
    elif f"question: {first[2:]}" not in others:
        yield f"{path}: the key question differs from the second line"


def text_problems(path: str, text: str) -> Iterator[str]:
    """A checkout works anywhere: no machine's paths, no registry's address."""
    for number, line in enumerate(text.splitlines(), 1):
        for word in FORBIDDEN_WORDS:
            if word in line.lower():
                yield f"{path}:{number}: names a package registry ({word})"
        if MACHINE_PATH.search(line):
            yield f"{path}:{number}: has a path of one machine"


def package_problems(declared: set[str], present: set[str]) -> Iterator[str]:
    """What is imported is installed, and what is installed exists."""
    for name in sorted(present - declared):
        yield f"pyproject.toml: package {name} is not in [tool.setuptools] packages"
    for name in sorted(declared - present):
        yield f"pyproject.toml: package {name} does not exist"


def pin_problems(line: str) -> Iterator[str]:
    """Exact, public versions; nothing that only a graphics card needs."""
    if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line):
        yield f"constraints.txt: {line!r} is not name==version"
    if line.startswith(("nvidia-", "triton", "cuda-", "crossbrand")):
        yield f"constraints.txt: {line!r} does not belong here"


def tracked() -> list[str]:
    """Paths that git knows or would add; all that is not hidden where there is no git."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        found = (p.relative_to(ROOT) for p in ROOT.rglob("*") if p.is_file())
        skipped = {"runs", "build", "dist", "__pycache__"}
        return [
            p.as_posix()
            for p in found
            if not any(part.startswith(".") or part in skipped for part in p.parts[:-1])
        ]
    return sorted({name for name in listed.stdout.split("\0") if name})


def texts() -> Iterator[tuple[str, str]]:
    """Every tracked text file."""
    for name in tracked():
        path = ROOT / name
        raw = path.read_bytes() if path.is_file() else b"\0"
        if b"\0" not in raw:
            yield name, raw.decode("utf-8", errors="replace")


def packages_present() -> set[str]:
    inits = (p for top in (*ALL, "conf") for p in (ROOT / top).rglob("__init__.py"))
    return {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in inits}


def test_configs_hold_values_only_and_experiments_start_with_a_question() -> None:
    configs = sorted((ROOT / "conf").rglob("*.yaml"))
    found = [
        problem
        for path in configs
        for problem in config_problems(path.relative_to(ROOT).as_posix(), path.read_text())
    ]
    assert configs
    assert not found, "\n".join(["", *found])


def test_files_name_no_machine_and_no_registry() -> None:
    found = [problem for path, text in texts() for problem in text_problems(path, text)]
    assert not found, "\n".join(["", *found])


def test_the_package_list_is_complete() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = set(pyproject["tool"]["setuptools"]["packages"])
    found = list(package_problems(declared, packages_present()))
    assert not found, "\n".join(["", *found])


def test_constraints_are_exact_and_public() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    found = [problem for line in pins for problem in pin_problems(line)]
    names = [line.split("==")[0] for line in pins]
    assert names == sorted(set(names))
    assert not found, "\n".join(["", *found])


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    names = {re.split(r"[^\w-]", line, maxsplit=1)[0].lower() for line in asked}
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert names - {line.split("==")[0] for line in pins} == set()


def test_file_rules_can_fail() -> None:
    assert list(config_problems("conf/task/a.yaml", "name: a\n_target_: os.system\n"))
    for old, new in (
        ("# @package _global_\n", ""),
        ("# Does", "Does"),
        ("question: D", "question: "),
    ):
        assert list(config_problems("conf/experiment/a.yaml", EXPERIMENT.replace(old, new, 1)))
    assert list(package_problems({"fl"}, {"fl", "fl.data"}))
    assert list(package_problems({"fl", "tests"}, {"fl"}))
    for line in ("torch==2.13.0+cpu", "torch>=2", "nvidia-cublas==1.0", "crossbrand-fl==0.1.0"):
        assert list(pin_problems(line))
    home, work, root = "/home" + "/x/data.csv", "/work" + "/main", "C:\\Users" + "\\x"
    for text in (*FORBIDDEN_WORDS, f"path: {home}", f"see ({work}/fl)", f'"{root}"'):
        assert list(text_problems("a.md", f"first\n{text}\n"))


EXPERIMENT = "# @package _global_\n# Does it?\nquestion: Does it?\n"


def test_file_rules_accept_good_files() -> None:
    assert not list(config_problems("conf/experiment/a.yaml", EXPERIMENT))
    assert not list(config_problems("conf/task/a.yaml", "# no _target_ here\nname: a\n"))
    assert not list(pin_problems("torch==2.13.0"))
    good = "https://example.com/home/x, fl/work/x, ~/work/x, $(HOME)/work/x, at work/main"
    assert not list(text_problems("a.md", good))
