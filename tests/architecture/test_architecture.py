"""The shape of the source tree, held by tests: direction of imports, size and opening of modules, what is forbidden."""

from __future__ import annotations

import ast
import doctest
import importlib
import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "parakh"
FILES = sorted(SOURCE.rglob("*.py"))
MODULES = [".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__") for path in FILES]
BY_NAME = dict(zip(MODULES, FILES, strict=True))
LONGEST = 600
EXTRAS = {"onnxruntime", "lightgbm", "duckdb", "pandas", "onnx", "polars", "bytewax"}
"""Installed only with an extra: a module that needs one imports it where it is used."""
HEAVY = {"numpy", "numba", "llvmlite", "pyarrow", "sqlglot", "msgspec", "rich", *EXTRAS}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
# Modules that define, parse or check: `parakh check` starts in half a second because these stay light.
CHECKS = {"parakh.expressions.parse", "parakh.expressions.check", "parakh.features.result", "parakh.decisions.check"}
LIGHT = [
    name for name in MODULES if name.endswith(".definition") or name.startswith("parakh.project") or name in CHECKS
]

each_module = pytest.mark.parametrize("name", MODULES)


def _tree(name: str) -> ast.Module:
    return ast.parse(BY_NAME[name].read_text(encoding="utf-8"), str(BY_NAME[name]))


def _imported(tree: ast.AST) -> set[str]:
    """Top-level names of every package that is imported anywhere below a node."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def test_the_tree_is_found() -> None:
    assert len(FILES) > 15
    assert {"parakh", "parakh.errors", "parakh.decisions.definition"} <= set(MODULES)


def test_imports_point_upstream() -> None:
    """The contract in pyproject.toml, read by import-linter."""
    pytest.importorskip("importlinter")
    from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

    loggers = [item for item in logging.root.manager.loggerDict.values() if isinstance(item, logging.Logger)]
    before = {logger: logger.disabled for logger in loggers}
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == EXIT_STATUS_SUCCESS
    for logger, disabled in before.items():  # it sets up logging for itself, and takes that of all others away
        logger.disabled = disabled


def test_every_package_is_in_the_import_contract() -> None:
    contract = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    packages = {path.name for path in SOURCE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    missing = {package for package in packages if f'"parakh.{package}"' not in contract}
    assert not missing, f"add to [[tool.importlinter.contracts]] layers: {sorted(missing)}"


@each_module
def test_module_begins_with_its_place(name: str) -> None:
    text = ast.get_docstring(_tree(name))
    assert text, f"{BY_NAME[name]} has no docstring"
    sentence = text.partition("\n\n")[0].rstrip()
    assert sentence.endswith((".", ":")), f"{BY_NAME[name]} does not begin with a sentence: {sentence!r}"
    assert len(sentence.split()) >= 4, f"{BY_NAME[name]} says too little: {sentence!r}"


@each_module
def test_module_is_short(name: str) -> None:
    lines = BY_NAME[name].read_text(encoding="utf-8").count("\n")
    assert lines < LONGEST, f"{BY_NAME[name]} has {lines} lines; one idea a file"


@each_module
def test_no_module_is_a_drawer(name: str) -> None:
    assert not {"utils", "util", "helpers", "common", "misc"} & set(name.split("."))


@each_module
def test_nothing_is_evaluated_or_unpickled(name: str) -> None:
    tree = _tree(name)
    assert not _imported(tree) & FORBIDDEN_MODULES
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in FORBIDDEN_CALLS, f"{BY_NAME[name]}:{node.lineno}"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant), f"{BY_NAME[name]}:{node.value.lineno}"
            assert node.value.value is False, f"{BY_NAME[name]}:{node.value.lineno}"


@each_module
def test_nothing_is_left_to_do(name: str) -> None:
    text = BY_NAME[name].read_text(encoding="utf-8")
    assert not [mark for mark in ("TODO", "FIXME", "XXX", "NotImplementedError") if mark in text]


@each_module
def test_extras_are_imported_where_they_are_used(name: str) -> None:
    top = [node for node in _tree(name).body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not EXTRAS & set().union(*map(_imported, top))


@each_module
def test_public_names_exist(name: str) -> None:
    module = importlib.import_module(name)
    names = getattr(module, "__all__", [])
    assert len(set(names)) == len(names)
    missing = [public for public in names if not hasattr(module, public)]
    assert not missing


@each_module
def test_doctests(name: str) -> None:
    module = importlib.import_module(name)
    outcome = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert outcome.failed == 0


CORE = ("expressions", "events", "features", "rules", "models", "simulation")
CLOCKS = {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow"), ("date", "today")}
"""What reads the wall clock; perf_counter and process_time only measure."""


@pytest.mark.parametrize("name", [name for name in MODULES if name.split(".")[1:2] and name.split(".")[1] in CORE])
def test_the_core_is_the_same_on_every_day_and_in_every_process(name: str) -> None:
    """Time is an argument; chance is seeded; hash() of a text is salted per process and may not be relied on."""
    tree = _tree(name)
    assert not _imported(tree) & {"random", "secrets", "uuid"}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        place = f"{BY_NAME[name]}:{node.lineno}"
        if isinstance(node.func, ast.Name):
            assert node.func.id != "hash", place
        elif isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            assert (node.func.value.id, node.func.attr) not in CLOCKS, place


def test_parakh_is_imported_at_once() -> None:
    """Under 0.2 s beyond the bare interpreter; the fastest of five, since other work may run beside."""

    def seconds(code: str) -> float:
        fastest = 60.0
        for _ in range(5):
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            fastest = min(fastest, time.perf_counter() - begun)
        return fastest

    assert seconds("import parakh") - seconds("pass") < 0.2


def _loads(module: str) -> set[str]:
    """The heavy packages that importing a module brings in, in a fresh interpreter."""
    code = f"import sys, {module}; print(' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split()) & HEAVY


def test_parakh_itself_is_light() -> None:
    assert not _loads("parakh")


@pytest.mark.parametrize("name", LIGHT)
def test_what_defines_and_checks_is_light(name: str) -> None:
    assert not _loads(name) & {"numpy", "numba", "llvmlite", "pyarrow", *EXTRAS}
