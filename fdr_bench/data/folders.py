"""Class folders on disk: "folders:PATH", in all the spellings that `classes` knows."""

from __future__ import annotations

import os

from fdr_bench.data import make_dataset
from fdr_bench.data.classes import ClassOptions, arrange, may_be_class
from fdr_bench.data.listing import Listing, list_folder
from fdr_bench.data.specs import dataset_name, split_options
from fdr_bench.errors import UsageError
from fdr_bench.types import Dataset

CLASS_OPTIONS = ("generator", "below")


def open_folders(rest: str) -> Dataset:
    """Open class folders. `rest` is "PATH[?generator=NAME&below=generator|category]".

    `generator` names who made the fakes where no folder does; `below` says what a level below the class folders is.
    Raises `UsageError` for a path that is no folder, `DataError` where no class folders are found (see `arrange`).
    """
    path, options = split_options(rest, CLASS_OPTIONS)
    samples, notes = arrange(list_classes(path), class_options(rest, options))
    return make_dataset(dataset_name(path), f"folders:{rest}", samples, notes)


def list_classes(path: str) -> Listing:
    """List the files below a folder, expecting images under anything that may be a class. Raises `UsageError`."""
    if not os.path.isdir(path):
        what = "a file, not a folder" if os.path.exists(path) else "not there"
        raise UsageError(f"the folder '{path}' is {what}: expected a folder of class folders such as 0_real and 1_fake")
    return list_folder(path, holds_images=lambda below: any(may_be_class(part) for part in below.split("/")))


def class_options(rest: str, options: dict[str, str]) -> ClassOptions:
    """Return the options that class folders take. Raises `UsageError` for an unknown value."""
    below = options.get("below")
    if below not in (None, "generator", "category"):
        raise UsageError(f"'{rest}': 'below' is '{below}', expected 'generator' or 'category'")
    return ClassOptions(generator=options.get("generator"), below=below)
