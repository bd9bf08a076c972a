"""Build the board: index.html that opens from disk, pages of examples, models and generators, and the tables as files.

A pure function of the run folders: no clock, no host, no network; equal input gives equal bytes. The page carries a
content policy that forbids every request and every script but its own.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fdr_bench.store import write_atomically
from leaderboards import exports, formats, pages, plots
from leaderboards import gallery as examples
from leaderboards.columns import OVERVIEW, REASONING, judge_column
from leaderboards.curves import figures, read_curves
from leaderboards.load import Run, load_runs
from leaderboards.tables import DatasetBoard, dataset_boards
from leaderboards.transfer import trainings

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
STYLES = ("board.css", "tables.css", "print.css")
SCRIPTS = ("theme.js", "board.js", "plot.js")
LEAF_STYLES = ("board.css", "tables.css", "print.css")
GALLERY_STYLES = ("board.css", "tables.css", "gallery.css")
GALLERY_SCRIPTS = ("theme.js", "gallery.js")


def build(runs: Sequence[Path], out: Path) -> Path:
    """Write `out`/index.html and `out`/exports/* for scored run folders; return the path of index.html.

    Beside it: model-*.html, generator-*.html; of datasets whose runs kept examples, examples-*.html and thumbnails/*.
    Models of all runs stand in one table a dataset. Raises `RunError` where a folder is damaged or not yet scored.
    """
    loaded = load_runs(runs)
    boards = dataset_boards(loaded)
    files = export_files(loaded, boards)
    galleries = {
        board.slug: found
        for board in boards
        if (found := examples.gallery(loaded, board.facts.name, board.facts.fingerprint, board.title))
    }
    links = pages.links(boards)
    page = _page(loaded, boards, files, links, galleries)
    for name, content in _leaves(boards, links, galleries):
        write_atomically(out / name, content.encode())
    for slug, gallery in galleries.items():
        examples.copy_pictures(gallery.pictures, out / "thumbnails")
        write_atomically(out / f"examples-{slug}.html", _gallery_page(gallery).encode())
    for name, content in files.items():
        write_atomically(out / "exports" / name, content.encode())
    index = out / "index.html"
    write_atomically(index, page.encode())
    return index


def export_files(runs: Sequence[Run], boards: Sequence[DatasetBoard]) -> dict[str, str]:
    """Return file name → content: each table in three formats, and all scores as one CSV."""
    files = {}
    for board in boards:
        for table in (board.overview, *board.generators):
            files[f"{table.slug}.csv"] = exports.table_csv(table)
            files[f"{table.slug}.md"] = exports.table_markdown(table)
            files[f"{table.slug}.tex"] = exports.table_latex(table)
    files["scores.csv"] = exports.scores_csv(runs)
    return files


def _style(names: Sequence[str]) -> str:
    colours = _environment().get_template("theme.css.j2").render(
        light=plots.heat_tokens("light"), dark=plots.heat_tokens("dark"), shades=plots.heat_classes()
    )  # fmt: skip
    return colours + "".join(_source(name) for name in names)


def _gallery_page(gallery: examples.Gallery) -> str:
    script = "".join(_source(name) for name in GALLERY_SCRIPTS)
    return _environment().get_template("gallery.html.j2").render(
        gallery=gallery,
        chunks=[packed(examples.packable(chunk)) for chunk in gallery.chunks],
        style=_style(GALLERY_STYLES),
        script=script,
        policy=_policy(script, images="'self' file: data:"),
    )  # fmt: skip


def _leaves(
    boards: Sequence[DatasetBoard], links: pages.Links, galleries: pages.Galleries
) -> Iterator[tuple[str, str]]:
    """Yield the name and content of each page of a model and of a generator."""
    script, style = _source("theme.js"), _style(LEAF_STYLES)
    shared = {"script": script, "style": style, "policy": _policy(script), "links": links}
    for kind, found in (
        ("model", pages.model_pages(boards, links, galleries)),
        ("generator", pages.generator_pages(boards, links, galleries)),
    ):
        template = _environment().get_template(f"{kind}.html.j2")
        for page in found:
            yield page.file, template.render(page=page, shades=plots.heat_classes(), **shared)


def _page(
    runs: Sequence[Run], boards: Sequence[DatasetBoard], files: dict[str, str], links: pages.Links,
    galleries: pages.Galleries,
) -> str:  # fmt: skip
    shown = {column.key: column for board in boards for column in board.overview.columns}
    judged = [column for key in shown if (column := judge_column(key)) is not None]
    script, plotly = "".join(_source(name) for name in SCRIPTS), plots.plotly_source()
    known = read_curves(runs)
    curves = [figures(board, known) for board in boards]
    by_generator = [[plots.generator_figure(table) for table in board.generators] for board in boards]
    return _environment().get_template("page.html.j2").render(
        runs=runs,
        boards=boards,
        files=files,
        links=links,
        galleries=galleries,
        style=_style(STYLES),
        script=script,
        policy=_policy(script, plotly),
        plotly=packed(plotly),
        figures=[*by_generator, *([each.figure for each in of_board] for of_board in curves)],
        curves=curves,
        trainings=trainings(boards),
        columns=(*OVERVIEW, *(column for column in REASONING if column.key in shown), *judged),
        models=len({name for run in runs for name, model in run.models.items() if not model.baseline}),
        shades=plots.heat_classes(),
    )  # fmt: skip


def _policy(*scripts: str, images: str = "data:") -> str:
    """Return a content policy: these scripts alone may run, and nothing may be asked of the network.

    `images` says where pictures may lie; the files beside a page are "'self'" on a server and "file:" on a disk.
    """
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    rules = ("default-src 'none'", f"script-src {allowed}", "style-src 'unsafe-inline'", f"img-src {images}")
    return "; ".join((*rules, "base-uri 'none'", "form-action 'none'"))


@cache
def packed(source: str) -> str:
    """Return a text as base64 of gzip: it costs a third of its size and no time until something is to be plotted."""
    return base64.b64encode(gzip.compress(source.encode(), 9, mtime=0)).decode()


def _source(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is None or ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    helpers: dict[str, Any] = {
        "main": formats.main,
        "under": formats.under,
        "resting": formats.resting,
        "sentence": formats.sentence,
        "percent": formats.percent,
        "count": formats.count,
        "heat_class": plots.heat_class,
        "interval_bar": plots.interval_bar,
        "BAR_WIDTH": plots.BAR_WIDTH,
        "DASH": formats.DASH,
    }
    environment.globals.update(helpers)
    return environment
