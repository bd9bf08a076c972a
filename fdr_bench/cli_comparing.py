"""What the commands compare and report share: the two that are compared, their names, and their page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fdr_bench.errors import UsageError

if TYPE_CHECKING:
    from fdr_bench.compare.comparison import Compared
    from fdr_bench.scored_slices import Settings


class Named(NamedTuple):
    """A run as it was given, and one model of it (None: each that the other has too)."""

    path: Path
    model: str | None


def named(word: str, runs: Sequence[Path] = ()) -> Named:
    """Read "RUN" or "RUN::MODEL"; with one run in `runs`, a word that is no path is a model of that.

    Raises `UsageError` where there is nothing at RUN, or no model behind "::".
    """
    path, separator, model = word.partition("::")
    if separator and not model:
        raise UsageError(f"'{word}' names no model behind '::'")
    if Path(path).exists():
        return Named(Path(path), model or None)
    if len(runs) == 1 and not separator:
        return Named(runs[0], word)
    raise UsageError(f"there is nothing at {path}")


def called(first: Named, second: Named) -> tuple[str, str]:
    """Return what a page calls the two: their runs, and where two different models are meant, these.

    Models of one run are named alone. Where two runs have one name, the paths stand for them as they were given.
    """
    models = first.model or second.model, second.model or first.model
    if first.path.resolve() == second.path.resolve() and models[0] and models[1] and models[0] != models[1]:
        return models[0], models[1]
    runs = [each.path.resolve().name.removesuffix(".zip") for each in (first, second)]
    if runs[0] == runs[1]:
        runs = [str(each.path) for each in (first, second)]
    if models[0] == models[1]:
        return runs[0], runs[1]
    return f"{models[0]} in {runs[0]}", f"{models[1]} in {runs[1]}"


def compared(
    first: Named, second: Named, settings: Settings, threads: int, *, page: Path | None, of_a_board: bool = False
) -> list[Compared]:
    """Compare two runs or models; write the page of both where one is asked for, a link to its board on it."""
    from fdr_bench.compare.comparison import Side, compare
    from fdr_bench.packing import opened

    with opened(first.path) as one, opened(second.path) as other:
        sides = Side(one, first.model), Side(other, second.model)
        found = compare(*sides, settings=settings, threads=threads)
        if page is not None:
            from fdr_bench.compare.samples import shown_sets
            from leaderboards.side_by_side import write_comparison

            write_comparison(shown_sets(found), page, names=called(first, second), of_a_board=of_a_board)
    return found


def page_of_both(first: Named, second: Named, board: Path) -> Path:
    """Write the page of two runs or models into a board's folder, before the board, which then links to it."""
    from fdr_bench.cli_options import cores
    from fdr_bench.compare.comparison import USUAL
    from leaderboards.slugs import slugged

    page = board / f"comparison-{slugged(' and '.join(called(first, second)), set())}.html"
    compared(first, second, USUAL, cores(), page=page, of_a_board=True)
    return page
