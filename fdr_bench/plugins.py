"""Find plugins by their entry points and load one by name: the one door for built-in and third-party detectors.

Finding reads the installed packages' metadata and imports nothing; loading imports the one module that is asked for.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import re
import sys
import traceback
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, cast

from fdr_bench.cards import check_detector
from fdr_bench.errors import MissingExtra, PluginError, UsageError, nearest
from fdr_bench.model_spec import WORD
from fdr_bench.model_spec import ModelSpec as ModelSpec
from fdr_bench.types import DetectorCard, DetectorFactory

DETECTORS = "fdr_bench.detectors"
DATASETS = "fdr_bench.datasets"
FAMILIES = "fdr_bench.families"
_NOUN = {
    DETECTORS: "detector",
    DATASETS: "dataset",
    FAMILIES: "family",
    "fdr_bench.metrics": "metric",
    "fdr_bench.engines": "engine",
}
_LISTING = {DETECTORS: "fdr-bench list models", DATASETS: "fdr-bench list datasets"}
_TARGET = re.compile(r"(?P<module>[\w.]+):(?P<attribute>[\w.]+)\s*(\[.*\])?")
_REQUIREMENT = re.compile(r"(?P<package>[A-Za-z0-9][A-Za-z0-9._-]*).*?(extra\s*==\s*['\"](?P<extra>[^'\"]+)['\"])?\s*$")
# Modules whose package on the index has another name; found out the hard way by everyone once.
_PACKAGE_OF = {
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


class Found(NamedTuple):
    """One entry point as a package's metadata declares it; `problem` says why its bare name cannot be loaded."""

    name: str
    group: str
    target: str
    distribution: str
    version: str
    problem: str | None = None


class Listed(NamedTuple):
    """One row of a listing: the entry point, and its card unless `found.problem` says why there is none."""

    found: Found
    card: DetectorCard | None


def normalised(distribution: str) -> str:
    """Return a package's name as indexes compare it (PEP 503): lower case, with runs of "-_." as one "-"."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def discover(group: str) -> list[Found]:
    """Return the entry points of `group` that installed packages declare, sorted by name; imports none of them.

    Names that two packages offer are all listed, each with the clash as its `problem`. Where a package is on the path
    twice, the first counts, as for `import`. A package whose metadata cannot be read is a row with its reason.
    """
    rows: list[Found] = []
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        # Most packages declare none; reading their whole metadata for a name would take ten times as long.
        if group not in (distribution.read_text("entry_points.txt") or ""):
            continue
        # Half-removed packages leave folders without a Name behind; nothing can be loaded from them.
        package = distribution.metadata["Name"] if distribution.metadata else None
        if not package or normalised(package) in seen:
            continue
        seen.add(normalised(package))
        rows += _declared(distribution, package, group)
    clashes = Counter(row.name for row in rows)
    rows = [row._replace(problem=_clash(row, rows)) if clashes[row.name] > 1 else row for row in rows]
    return sorted(rows, key=lambda row: (row.name, normalised(row.distribution)))


def all_names(group: str = DETECTORS) -> list[str]:
    """Return the names that can be asked for, sorted; names offered twice appear as "package/name"."""
    rows = discover(group)
    counts = Counter(row.name for row in rows)
    usable = [row for row in rows if not _malformed(row.name, row.target)]
    return sorted(f"{row.distribution}/{row.name}" if counts[row.name] > 1 else row.name for row in usable)


def load(group: str, name: str) -> object:
    """Import and return the one object that entry point `name` (or "package/name") of `group` points at.

    Raises `PluginError`: unknown name, name offered by two packages, nothing at the target, failure during import.
    Raises `MissingExtra`: the plugin imports a package that is not installed.
    """
    return _load(find(group, name))


def load_detector(name: str) -> DetectorFactory:
    """Load detector `name` (or "package/name") and check its card; errors as for `load`."""
    found = find(DETECTORS, name)
    factory = _load(found)
    check_detector(factory, found.name, _origin(found))
    return cast(DetectorFactory, factory)


def list_detectors() -> list[Listed]:
    """Return a row for every installed detector, with its card; one that fails to load has its reason as `problem`."""
    return [_listed(found) for found in discover(DETECTORS)]


def load_file(location: str) -> DetectorFactory:
    """Load a detector out of a file that is in no package: "path/to/file.py:Class".

    Modules beside the file can be imported by it. Raises `UsageError` where the text or the file is wrong, and
    `PluginError` or `MissingExtra` as `load` does.
    """
    path, attribute = _split_file(location)
    module_name = f"fdr_bench_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # last, so that a file beside it can hide no installed package
    found = Found(attribute, DETECTORS, f"{module_name}:{attribute}", str(path), "file")
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} cannot be imported as Python. Check the file's name and its permissions.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and pickle look their module up by name
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        raise _import_failure(found, error) from error
    factory = _attribute(found, module)
    check_detector(factory, None, str(path))
    return cast(DetectorFactory, factory)


def version_of(target: str) -> str:
    """Return what identifies a plugin's code: "package version", or "sha256:…" of the file for "file.py:Class".

    Raises `PluginError` as `load` does where no entry point has this name, and `UsageError` for a missing file.
    """
    if ".py:" not in target:
        return _origin(find(DETECTORS, target))
    path, _ = _split_file(target)
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


# ---------------------------------------------------------------- finding


def _split_file(location: str) -> tuple[Path, str]:
    text, _, attribute = location.rpartition(":")
    if not text.endswith(".py") or not attribute.isidentifier():
        raise UsageError(f"--plugin wants FILE.py:Class, such as mine.py:MyDetector, but got '{location}'.")
    path = Path(text).expanduser().resolve()
    if not path.is_file():
        raise UsageError(f"--plugin: there is no file {path}. Give the path of a Python file, then ':' and the class.")
    return path, attribute


def _declared(distribution: importlib.metadata.Distribution, package: str, group: str) -> list[Found]:
    version = distribution.version or "unknown"
    try:
        # importlib raises whatever its parser trips over; which exception depends on the Python version.
        points = [point for point in distribution.entry_points if point.group == group]
    except (TypeError, ValueError, AttributeError, KeyError):
        problem = f"the entry_points.txt of {package} cannot be read. Reinstall {package}."
        return [Found(f"({package})", group, "", package, version, problem)]
    return [Found(p.name, group, p.value, package, version, _malformed(p.name, p.value)) for p in points]


def _malformed(name: str, target: str) -> str | None:
    if not WORD.fullmatch(name):
        return f"the name '{name}' may have letters, digits, '.', '_' and '-' only"
    if not _TARGET.fullmatch(target):
        return f"its target '{target}' is not of the form module:attribute"
    return None


def _clash(row: Found, rows: list[Found]) -> str:
    offers = sorted(f"{other.distribution} {other.version}" for other in rows if other.name == row.name)
    ways = " or ".join(sorted({f"'{other.distribution}/{row.name}'" for other in rows if other.name == row.name}))
    return f"'{row.name}' is offered by {len(offers)} packages: {', '.join(offers)}. Choose one: {ways}."


def find(group: str, name: str) -> Found:
    """Return the entry point `name` (or "package/name") of `group`; raises `PluginError` as `load` does."""
    noun = _NOUN.get(group, "plugin")
    package, _, bare = name.rpartition("/")
    rows = discover(group)
    offered = [row for row in rows if row.name == bare]
    chosen = [row for row in offered if not package or normalised(row.distribution) == normalised(package)]
    if not chosen:
        listing = f" '{_LISTING[group]}' shows all." if group in _LISTING else ""
        names = [*(row.name for row in rows), *(f"{row.distribution}/{row.name}" for row in rows)]
        hint = nearest(name, names) or nearest(bare, names)
        raise PluginError(f"no {noun} is called '{name}'.{hint}{listing}")
    found = chosen[0]
    if len(chosen) > 1:
        raise PluginError(f"{noun} {found.problem}")
    malformed = _malformed(found.name, found.target)
    if malformed:
        raise PluginError(f"{noun} '{name}' of {_origin(found)} is declared wrongly: {malformed}. Tell its author.")
    return found


def _origin(found: Found) -> str:
    return f"{found.distribution} {found.version}"


def _listed(found: Found) -> Listed:
    try:
        # The full name, so that a clash does not hide that the plugin itself is broken, or that it is not.
        card = load_detector(f"{found.distribution}/{found.name}").card
    except PluginError as error:
        return Listed(found._replace(problem=found.problem or str(error)), None)
    return Listed(found, card)


# ---------------------------------------------------------------- loading


def _load(found: Found) -> object:
    matched = _TARGET.fullmatch(found.target)
    if matched is None:
        raise PluginError(f"'{found.target}' of {_origin(found)} is not of the form module:attribute.")
    try:
        module = importlib.import_module(matched["module"])
    except (Exception, SystemExit) as error:
        raise _import_failure(found, error) from error
    return _attribute(found, module)


def _attribute(found: Found, module: ModuleType) -> object:
    module_name, _, rest = found.target.partition(":")
    target: object = module
    for part in rest.split("[")[0].strip().split("."):
        if not hasattr(target, part):
            public = [name for name in vars(module) if not name.startswith("_")]
            where = module.__file__ or module_name
            raise PluginError(f"{where} ({_origin(found)}) has no '{part}'.{nearest(part, public)} Correct the name.")
        target = getattr(target, part)
    return target


def _import_failure(found: Found, error: BaseException) -> PluginError:
    noun = _NOUN.get(found.group, "plugin")
    head = f"{noun} '{found.name}' of {_origin(found)} cannot be loaded"
    module = found.target.partition(":")[0]
    if isinstance(error, ModuleNotFoundError) and error.name:
        if module == error.name or module.startswith(error.name + "."):
            reinstall = f"Its package is incomplete: pip install --force-reinstall {found.distribution}"
            return PluginError(f"{head}: its module '{module}' does not exist. {reinstall}")
        top = error.name.partition(".")[0]
        # Its own package, or a part of a package that is there: installing something would not help.
        if top != module.partition(".")[0] and importlib.util.find_spec(top) is None:
            return MissingExtra(f"{head}: the package of '{error.name}' is not installed. {_remedy(found, top)}")
    return PluginError(f"{head}: {type(error).__name__}: {error} ({_where(error)}). Report it to the plugin's author.")


def _remedy(found: Found, top: str) -> str:
    package = _PACKAGE_OF.get(top, top)
    try:
        requires = importlib.metadata.requires(found.distribution) or []
    except (importlib.metadata.PackageNotFoundError, ValueError):
        requires = []  # a --plugin file belongs to no package
    for requirement in requires:
        matched = _REQUIREMENT.match(requirement)
        if matched and matched["extra"] and normalised(matched["package"]) in {normalised(package), normalised(top)}:
            return f"Install it: pip install '{found.distribution}[{matched['extra']}]'"
    return f"Install it: pip install {package}"


def _where(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else "at an unknown place"
