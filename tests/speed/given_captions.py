"""De-Fake that is told what its images show: the file is its plugin."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

from baselines.defake import DeFake
from tests.goldens import HERE
from tests.goldens.official import beside_pixels


class GivenCaptions(DeFake):
    """All of De-Fake but its captioner, which is another model: every image has the same caption."""

    @cached_property
    def figures(self) -> Any:
        return json.loads((HERE / "defake.json").read_text())

    def beside(self, images):
        name = next(iter(self.figures["captions"]))
        return beside_pixels(self.figures, [name] * len(images))
