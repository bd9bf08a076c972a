"""What several models of a run need of the same images is computed once: preprocessed images, a backbone's features.

Detectors say at loading what they compute of images. Where two say the same, the first to need it computes it, and the
others take that very object, for as long as the images are at hand.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from PIL.Image import Image

Made = TypeVar("Made")

LIMIT = 1 << 28
"""Bytes that are kept at a time (by `nbytes`: arrays and tensors); what is beyond is computed again by each model."""


class _Kept(NamedTuple):
    made: Any
    images: Sequence[Image]
    """Held, so that no other image can be given the identity of one of them."""
    seconds: float


class SharedWork:
    """Results on the images at hand, by what was computed (`key`) and the images that it was computed of.

    A key must be equal for two detectors only where both would compute the very same bits. One thread at a time.
    `detectors` are those that share it from now on.
    """

    def __init__(self, detectors: Iterable[object] = ()) -> None:
        self._users: Counter[Hashable] = Counter()
        self._kept: dict[tuple[Hashable, tuple[int, ...]], _Kept] = {}
        self._bytes = 0
        self._saved = 0.0
        for detector in detectors:
            self.invite(detector)

    def invite(self, detector: object) -> None:
        """Let a detector share in, if it is of the kind that does."""
        if isinstance(detector, SharesWork):
            detector.share(self)

    def expect(self, key: Hashable) -> None:
        """Count one detector that will ask for `key`; nothing is kept of what only one asks for."""
        self._users[key] += 1

    def once(self, key: Hashable, images: Sequence[Image], make: Callable[[], Made]) -> Made:
        """Return what `make` returned for this key and these images in this order; it must not be changed.

        What `make` raises is raised, and nothing is kept then.
        """
        if self._users[key] < 2:
            return make()
        place = (key, tuple(map(id, images)))
        if place in self._kept:
            kept = self._kept[place]
            self._saved += kept.seconds
            made: Made = kept.made
            return made
        begun = time.perf_counter()
        made = make()
        seconds = time.perf_counter() - begun
        size = getattr(made, "nbytes", 0)
        if self._bytes + size <= LIMIT:
            self._bytes += size
            self._kept[place] = _Kept(made, images, seconds)
        return made

    def saved_seconds(self) -> float:
        """Return the seconds that others had needed for what was taken from them since the last call.

        With them, the time of a model is what it would be alone, whichever came first.
        """
        saved, self._saved = self._saved, 0.0
        return saved

    def forget(self) -> None:
        """Let go of all results: other images come."""
        self._kept.clear()
        self._bytes = 0


@runtime_checkable
class SharesWork(Protocol):
    """A detector that leaves to other detectors what it computes of images, and takes from them what it needs."""

    def share(self, work: SharedWork) -> None:
        """Say by `work.expect` what is computed of images, and from then on compute it through `work.once`."""
