"""The shape of the code: who imports whom, what is heavy, and how long files and functions are."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from pathlib import Path

import grimp
import pytest

from fdr_bench import plugins
from fdr_bench.selftest.construction import HEAVY

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("fdr_bench", "baselines", "fakereasoning", "leaderboards")
_DETECTORS = ("types", "errors", "images", "weights", "weights_card", "training")
ALLOWED_FROM_THE_HARNESS = {
    # What a detector may use: the public names, and what it shares with the trainer.
    "baselines": {"", *_DETECTORS, "families", "journal", "prompts", "served"},
    "fakereasoning": {"", *_DETECTORS, "metrics", "processes", "verdicts"},
    "leaderboards": {"", "types", "errors", "store", "ranking"},  # ranks need the answers: a board may be of many runs
}
# Programs beside the detectors, run as python -m …: they read datasets, write folders and talk, as the trainer does.
ALLOWED_FOR_PROGRAMS = {"data", "store", "terminal", "explanation"}
PROGRAMS = (
    "baselines.train_",
    *(
        f"fakereasoning.{name}"
        for name in ("__main__", "ablations", "averaging", "examples", "pipeline", "records", "sharing", "statements")
    ),
    *(
        f"fakereasoning.{name}"
        for name in ("adapters", "frozen", "material", "resuming", "scene_places", "scene_questions", "scene_views")
    ),
    *(f"fakereasoning.{name}" for name in ("sketches", "stage1", "training", "vision_loop", "vision_stage")),
    *(f"fakereasoning.{name}" for name in ("words", "words_loop", "words_stage")),
)


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)


def python_files() -> list[Path]:
    folders = [ROOT / package for package in (*PACKAGES, "tests")]
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


# ---------------------------------------------------------------- imports


def test_the_import_contracts_hold():
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", ALLOWED_FROM_THE_HARNESS)
def test_detectors_and_boards_use_only_their_part_of_the_harness(graph, package):
    allowed, found = ALLOWED_FROM_THE_HARNESS[package], set()
    for module in graph.find_descendants(package) | {package}:
        mine = allowed | (ALLOWED_FOR_PROGRAMS if module.startswith(PROGRAMS) else set())
        for imported in graph.find_modules_directly_imported_by(module):
            top, *rest = imported.split(".")
            if top == "fdr_bench" and (rest[0] if rest else "") not in mine:
                found.add(f"{module} imports {imported}")
    assert found == set()


def test_a_detector_shares_code_only_through_the_modules_for_that(graph):
    modules = {module for module in graph.find_children("baselines") if not module.split(".")[1].startswith("_")}
    found = {
        f"{module} imports {imported}"
        for module in modules
        for imported in graph.find_modules_directly_imported_by(module) & modules
    }
    assert found == set()


# ---------------------------------------------------------------- light and heavy


def heavy_after(program: str) -> list[str]:
    """Return the heavy packages that a fresh interpreter has imported after `program`."""
    report = f"\nimport sys\nprint('heavy:', *(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program + report], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


def command(*words: str) -> str:
    return (
        f"import sys\nsys.argv = {['fdr-bench', *words]!r}\nfrom fdr_bench.cli import main\n"
        "try:\n    code = main()\nexcept SystemExit as leaving:\n    code = leaving.code\nassert not code, code"
    )


@pytest.mark.parametrize(
    "words",
    [("--help",), ("run", "--help"), ("list", "models"), ("list", "datasets"), ("list", "metrics", "--json")],
    ids=" ".join,
)
def test_help_and_listings_import_nothing_heavy(words):
    assert heavy_after(command(*words)) == []


@pytest.mark.parametrize("name", plugins.all_names())
def test_reading_a_card_imports_nothing_heavy(name):
    assert heavy_after(f"from fdr_bench import plugins\nplugins.load_detector({name!r}).card") == []


@pytest.mark.slow
def test_help_answers_within_three_tenths_of_a_second():
    def once() -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "fdr_bench", "--help"], capture_output=True, check=True, env=os.environ)
        return time.perf_counter() - started

    assert min(once() for _ in range(10)) < 0.3


# ---------------------------------------------------------------- size and names


def test_no_file_is_over_300_lines():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in python_files()
    }
    long = {path: length for path, length in lengths.items() if length > 300}
    assert long == {}


def test_no_function_is_over_60_lines():
    """Counted without the docstring, the decorators and the parameters: what has to be followed in one go."""
    long = {}
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                if body and (lines := (body[-1].end_lineno or 0) - body[0].lineno + 1) > 60:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = lines
    assert long == {}


def test_every_module_of_the_packages_says_what_it_is_for():
    packaged = [path for path in python_files() if not path.is_relative_to(ROOT / "tests")]
    bare = [
        str(path.relative_to(ROOT))
        for path in packaged
        if (source := path.read_text(encoding="utf-8")).strip() and not ast.get_docstring(ast.parse(source))
    ]
    assert bare == []


def test_no_module_has_a_name_that_says_nothing():
    vague = {"utils", "util", "common", "helpers", "core", "base", "misc", "manager"}
    found = [str(path.relative_to(ROOT)) for path in python_files() if path.stem.strip("_") in vague]
    assert found == []
