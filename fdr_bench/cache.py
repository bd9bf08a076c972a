"""Where downloads and rendered images are kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder for downloads and renderings: FDR_BENCH_CACHE, or the platform's cache for fdr-bench."""
    import platformdirs

    chosen = os.environ.get("FDR_BENCH_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("fdr-bench"))
