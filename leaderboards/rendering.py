"""Turn templates into pages: the environment, the styles, and the policy that forbids what no page here needs."""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leaderboards import formats, plots

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"


def style(names: Sequence[str]) -> str:
    """Return the colours of both themes and the named style sheets, as one text."""
    colours = environment().get_template("theme.css.j2").render(
        light=plots.heat_tokens("light"), dark=plots.heat_tokens("dark"), shades=plots.heat_classes()
    )  # fmt: skip
    return colours + "".join(source(name) for name in names)


def policy(*scripts: str, images: str = "data:") -> str:
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


def source(name: str) -> str:
    """Return a script or a style sheet of the templates."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


@cache
def environment() -> Environment:
    """Return the templates' environment: what is written into a page is escaped, what is not given is an error."""
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
