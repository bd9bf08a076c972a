"""Whether what a reasoning text claims of an FDR-Scenes image is so: the solid, the side of light, the place.

The truth of a forgery attribute is the reference sentence that states it, which a scene graph wrote; that of an
authenticity attribute is the caption, which names every solid and the side that the light comes from. Synonyms are
one: "ball", "sphere" and "globe" (see `solids`). A solid of two colours, which the caption tells, is named by either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from fdr_bench.metrics.claims import Attribute, Claim, annotated
from fdr_bench.metrics.solids import NamedSolid, captioned_solids, named_solids, without_solids

Side = Literal["left", "right"]
Role = Literal["light", "shadow", "lit"]
Sides = frozenset[tuple[Role, Side]]

_SIDE = re.compile(r"\b(?:left|right)\b", re.IGNORECASE)
_CONTRASTED = re.compile(
    r"\b(?:instead of|not|rather than)(?: (?:to|on|from|at))?(?: the| its)? (?:left|right)\b", re.IGNORECASE
)
# What the last of these words before "left" or "right" makes it the side of.
_ROLES = re.compile(
    r"(?P<shadow>shadows?)"
    r"|(?P<lit>\blit (?!from|by)|bright|sunny|turns its|faces its|(?:suggests?|impl(?:y|ies)) a light)"
    r"|(?P<light>\blit from|\bsun\b|(?:sun)?light)",
    re.IGNORECASE,
)
_PLACE = re.compile(r"\b(?:(?:upper|lower) (?:left|right|middle)|left|right|cent(?:re|er)|middle)\b", re.IGNORECASE)
_OPPOSITE: dict[Side, Side] = {"left": "right", "right": "left"}


class Checked(NamedTuple):
    """What of a claim is so; None where it states nothing of the kind, or nothing that can be checked."""

    holds: bool  # the image has the attribute, or nothing that contradicts it
    solid: bool | None
    side: bool | None
    place: bool | None
    names_it: bool  # it names a solid or a place where the reference does

    @property
    def contradicted(self) -> bool:
        """Whether any of it is not so: a hallucination."""
        return not self.holds or False in (self.solid, self.side, self.place)

    @property
    def grounded(self) -> bool:
        """Whether all of it is so, and it says what the reference says it of."""
        return self.names_it and not self.contradicted


class Grounding(NamedTuple):
    """Counts of one text: claims and what of them is so, then attributes with a grounded claim, without, and missed."""

    claims: int
    contradicted: int
    solids_right: int
    solids: int
    sides_right: int
    sides: int
    places_right: int
    places: int
    grounded: int
    ungrounded: int
    missed: int


class Truth(NamedTuple):
    """What is known of an image: its annotated sentences, the solids that its caption names, the side of its light."""

    fake: bool
    sentences: Mapping[Attribute, str]
    solids: frozenset[frozenset[NamedSolid]]
    light: Side

    def called(self, named: frozenset[NamedSolid]) -> frozenset[NamedSolid]:
        """Return every name of the solids that are named here, those of their other colours included."""
        return named.union(*(names for names in self.solids if names & named))


def truth(attributes: Mapping[str, str | None] | None, caption: str | None, *, fake: bool) -> Truth | None:
    """Return what is known of an image; None where its caption tells of no solid or no side of the light."""
    solids = captioned_solids(caption or "")
    lights = {side for role, side in sides(caption or "") if role == "light"}
    if not solids or len(lights) != 1:
        return None
    return Truth(fake, annotated(attributes), solids, lights.pop())


def ground(claims: Sequence[Claim], known: Truth) -> Grounding:
    """Count what of the claims is so. A text without claims misses every annotated attribute."""
    checked = [(claim.attribute, check(claim, known)) for claim in claims]

    def right_and_stated(answers: Sequence[bool | None]) -> tuple[int, int]:
        return answers.count(True), len(answers) - answers.count(None)

    grounded = {attribute for attribute, found in checked if found.grounded}
    return Grounding(
        len(checked),
        sum(found.contradicted for _, found in checked),
        *right_and_stated([found.solid for _, found in checked]),
        *right_and_stated([found.side for _, found in checked]),
        *right_and_stated([found.place for _, found in checked]),
        grounded=len(grounded & set(known.sentences)),
        ungrounded=len({attribute for attribute, _ in checked} - grounded),
        missed=len(set(known.sentences) - grounded),
    )


def check(claim: Claim, known: Truth) -> Checked:
    """Compare one claim with the truth.

    A forgery attribute holds where it is annotated; an authenticity attribute on every real image, and on a fake one
    whose annotation does not say its counterpart. Where it does not hold, nothing more is checked.
    """
    attribute, sentence = claim
    fault_is_annotated = Attribute(attribute.family, True) in known.sentences
    holds = fault_is_annotated if attribute.forged else not (known.fake and fault_is_annotated)
    if not holds:
        return Checked(holds, None, None, None, True)
    reference = known.sentences.get(attribute, "")
    named, place = named_solids(sentence), _place(claim)
    if attribute.forged:
        whose, where = known.called(named_solids(reference)), _place(Claim(attribute, reference))
        solid = named <= whose if named and whose else None
        return Checked(
            holds,
            solid,
            _side_holds(claim, known, sides(reference)),
            place == where if place and where else None,
            names_it=bool(named or not whose) and bool(place or not where),
        )
    solid = named <= frozenset[NamedSolid]().union(*known.solids) if named else None
    return Checked(holds, solid, _side_holds(claim, known, frozenset()), None, True)


def sides(text: str) -> Sides:
    """Return what a text says to be left or right: the light, a shadow, the lit side of a solid.

    A side that it only sets its statement off against ("instead of the right") is none of them.
    """
    words = without_solids(_CONTRASTED.sub(" ", text))
    found: set[tuple[Role, Side]] = set()
    start = 0
    for match in _SIDE.finditer(words):
        roles = [role for each in _ROLES.finditer(words, start, match.start()) if (role := each.lastgroup)]
        if roles:
            found.add((roles[-1], match.group().lower()))  # type: ignore[arg-type]  # the groups and words of the patterns
        start = match.end()
    return frozenset(found)


def _side_holds(claim: Claim, known: Truth, stated: Sides) -> bool | None:
    """Compare the sides in a claim about light with those known; `stated` are the reference sentence's."""
    if claim.attribute.family != "lighting":
        return None
    away = _OPPOSITE[known.light]
    true: set[tuple[Role, Side]] = {("light", known.light)}
    if claim.attribute.forged:
        true |= {(role, side) for role, side in stated if role != "light"}
    else:
        true |= {("shadow", away), ("lit", known.light)}
    roles = {role for role, _ in true}
    claimed = {(role, side) for role, side in sides(claim.sentence) if role in roles}
    return claimed <= true if claimed else None


def _place(claim: Claim) -> str | None:
    """Return the place that a claim of low quality names, in the words of the references."""
    if claim.attribute != Attribute("quality", True):
        return None
    match = _PLACE.search(without_solids(claim.sentence))
    return {"center": "centre", "middle": "centre"}.get(word := match.group().lower(), word) if match else None
