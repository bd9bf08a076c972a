"""Tune the small model in as many processes as torchrun started: python -m torch.distributed.run … FOLDER STOP."""

from __future__ import annotations

import sys
from pathlib import Path

from fakereasoning import tuning_loop
from fakereasoning.recipe import TuneRecipe
from fakereasoning.training import tune
from tests.fakereasoning import small

RECIPE = TuneRecipe(epochs=3, batch=2, lr=3e-3, held_out=0.1)


def main(folder: Path, stop: int, accumulation: int = 1) -> None:
    """Train in FOLDER/out on the pictures of FOLDER/pictures; die before step `stop` where it is above 0."""
    from dataclasses import replace

    advance = tuning_loop.TuningLoop._advance

    def dying(self: tuning_loop.TuningLoop, fraction: float) -> None:
        if self.position == stop > 0:
            raise SystemExit(9)
        advance(self, fraction)

    tuning_loop.TuningLoop._advance = dying  # type: ignore[method-assign]
    records = small.records(folder / "pictures")
    codec = small.codec(records)
    recipe = replace(RECIPE, accumulation=accumulation)
    model = small.model(codec.vocabulary, dropout=0.0)
    tune(model, codec, records, recipe=recipe, out=folder / "out", threads=1, quiet=True, checkpoint_seconds=0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
