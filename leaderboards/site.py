"""Build the board: index.html that opens from disk, pages of examples, models and generators, and the tables as files.

A pure function of the run folders: no clock, no host, no network; equal input gives equal bytes. The page carries a
content policy that forbids every request and every script but its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from fdr_bench.store import write_atomically
from leaderboards import comparisons, exports, pages, plots
from leaderboards import gallery as examples
from leaderboards.columns import OVERVIEW, REASONING, judge_column
from leaderboards.curves import figures, read_curves
from leaderboards.load import Run, load_runs
from leaderboards.model_card import model_card
from leaderboards.quoted import with_quotes
from leaderboards.ranks import with_ranks
from leaderboards.rendering import environment, packed, policy, source, style
from leaderboards.robustness import Robustness, read_robustness, section
from leaderboards.tables import DatasetBoard, dataset_boards
from leaderboards.transfer import trainings

STYLES = ("board.css", "tables.css", "print.css")
SCRIPTS = ("theme.js", "board.js", "plot.js")
LEAF_STYLES = ("board.css", "tables.css", "print.css")
GALLERY_STYLES = ("board.css", "tables.css", "gallery.css")
GALLERY_SCRIPTS = ("theme.js", "viewer.js", "gallery.js")


def build(runs: Sequence[Path], out: Path) -> Path:
    """Write `out`/index.html and `out`/exports/* for scored run folders; return the path of index.html.

    Beside it: model-*.html, generator-*.html; of datasets whose runs kept examples, examples-*.html and thumbnails/*.
    Models of all runs stand in one table a dataset; comparisons that lie in `out` are linked to. Raises `RunError`
    where a folder is damaged or not yet scored.
    """
    loaded = load_runs(runs)
    robust = read_robustness(loaded)
    boards = tuple(with_ranks(with_quotes(board), loaded) for board in dataset_boards(loaded, robust.aside))
    galleries = {
        board.slug: found
        for board in boards
        if (found := examples.gallery(loaded, board.facts.name, board.facts.fingerprint, board.title))
    }
    links = pages.links(boards)
    of_models = pages.model_pages(boards, links, galleries)
    files = export_files(loaded, boards, of_models)
    page = _page(loaded, boards, files, links, galleries, robust, comparisons.made(out))
    for name, content in _leaves(boards, links, galleries, of_models, files):
        write_atomically(out / name, content.encode())
    for slug, gallery in galleries.items():
        examples.copy_pictures(gallery.pictures, out / "thumbnails")
        write_atomically(out / f"examples-{slug}.html", _gallery_page(gallery).encode())
    for name, content in files.items():
        write_atomically(out / "exports" / name, content.encode())
    index = out / "index.html"
    write_atomically(index, page.encode())
    return index


def export_files(
    runs: Sequence[Run], boards: Sequence[DatasetBoard], models: Sequence[pages.ModelPage]
) -> dict[str, str]:
    """Return file name → content: each table in four formats, a card snippet a model, and all scores as one CSV."""
    files = {}
    for board in boards:
        for table in (board.overview, *board.generators):
            files[f"{table.slug}.csv"] = exports.table_csv(table)
            files[f"{table.slug}.md"] = exports.table_markdown(table)
            files[f"{table.slug}.tex"] = exports.table_latex(table)
            files[f"{table.slug}.json"] = exports.table_json(table)
    files |= {page.card: model_card(page, runs) for page in models if not page.parts[0].facts.baseline}
    files["scores.csv"] = exports.scores_csv(runs)
    return files


def _gallery_page(gallery: examples.Gallery) -> str:
    script = "".join(source(name) for name in GALLERY_SCRIPTS)
    return environment().get_template("gallery.html.j2").render(
        gallery=gallery,
        chunks=[packed(examples.packable(chunk)) for chunk in gallery.chunks],
        style=style(GALLERY_STYLES),
        script=script,
        policy=policy(script, images="'self' file: data:"),
    )  # fmt: skip


def _leaves(
    boards: Sequence[DatasetBoard],
    links: pages.Links,
    galleries: pages.Galleries,
    of_models: Sequence[pages.ModelPage],
    files: dict[str, str],
) -> Iterator[tuple[str, str]]:
    """Yield the name and content of each page of a model and of a generator."""
    script, styles = source("theme.js"), style(LEAF_STYLES)
    shared = {"script": script, "style": styles, "policy": policy(script), "links": links, "files": files}
    for kind, found in (
        ("model", of_models),
        ("generator", pages.generator_pages(boards, links, galleries)),
    ):
        template = environment().get_template(f"{kind}.html.j2")
        for page in found:
            yield page.file, template.render(page=page, shades=plots.heat_classes(), **shared)


def _page(
    runs: Sequence[Run], boards: Sequence[DatasetBoard], files: dict[str, str], links: pages.Links,
    galleries: pages.Galleries, robust: Robustness, made: Sequence[comparisons.Made],
) -> str:  # fmt: skip
    shown = {column.key: column for board in boards for column in board.overview.columns}
    judged = [column for key in shown if (column := judge_column(key)) is not None]
    script, plotly = "".join(source(name) for name in SCRIPTS), plots.plotly_source()
    known = read_curves(runs)
    curves = [figures(board, known) for board in boards]
    sections = [section(board, robust) for board in boards]
    by_generator = [[plots.generator_figure(table) for table in board.generators] for board in boards]
    return environment().get_template("page.html.j2").render(
        runs=runs,
        boards=boards,
        files=files,
        links=links,
        galleries=galleries,
        style=style(STYLES),
        script=script,
        policy=policy(script, plotly),
        plotly=packed(plotly),
        figures=[
            *by_generator,
            *([each.figure for each in of_board] for of_board in curves),
            *([each.figure for each in found.figures] if found else [] for found in sections),
        ],
        curves=curves,
        robustness=sections,
        trainings=trainings(boards),
        made=made,
        offer=comparisons.offer(runs, boards),
        quoted=any(row.quotes for board in boards for row in board.overview.detectors),
        columns=(*OVERVIEW, *(column for column in REASONING if column.key in shown), *judged),
        models=len({name for run in runs for name, model in run.models.items() if not model.baseline}),
        shades=plots.heat_classes(),
    )  # fmt: skip
