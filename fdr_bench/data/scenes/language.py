"""Captions, attribute sentences and chains of thought: a small grammar in which every sentence states a fact.

Templates hold choices as [one|another], expanded at random, and slots as {name}. Of several ways to say the same the
first is the usual one: as in human text, some wordings are common and others rare.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from fdr_bench.data.scenes.phrases import AUTHENTIC, FORGED, NOUNS, TEXTURES
from fdr_bench.data.scenes.scene import Scene, Solid, T, pick
from fdr_bench.data.scenes.striking import stated, striking
from fdr_bench.data.scenes.violations import EDGES, KINDS, LIGHTING, QUALITY, SEMANTICS, TEXTURE, Violation

Random = np.random.Generator
CHOICE = re.compile(r"\[([^\[\]]*)\]")

FORGERY = (TEXTURE, LIGHTING, EDGES, QUALITY, SEMANTICS)
AUTHENTICITY = tuple(AUTHENTIC)
HIGH_LEVEL = (SEMANTICS, "Semantic Rationality")


def pick_word(random: Random, choices: Sequence[T]) -> T:
    """Return the first choice half of the time, and else any of them, each equally likely."""
    return choices[0] if random.random() < 0.5 else pick(random, choices)


def expand(template: str, random: Random, slots: Mapping[str, str]) -> str:
    """Fill a template: choices from the innermost outwards, then slots; the first letter is made a capital."""
    while (match := CHOICE.search(template)) is not None:
        template = template[: match.start()] + pick_word(random, match.group(1).split("|")) + template[match.end() :]
    text = re.sub(r"\s+", " ", template.format_map(dict(slots))).strip()
    return text[0].upper() + text[1:]


def noun_phrase(solid: Solid, random: Random) -> str:
    """Name a solid by its first colour and shape, at times with size or material: "red ball", "striped blue box"."""
    words = [solid.colours[0], pick_word(random, NOUNS[solid.shape])]
    draw = random.random()
    if draw < 0.3:
        words.insert(0, solid.size)
    elif draw < 0.5:
        words.insert(0, solid.material)
    return " ".join(words)


def place_words(place: tuple[float, float]) -> str:
    """Name a place (x, y) in shares of the picture by thirds: "upper left", "centre", "right"."""
    across = ("left", "", "right")[min(int(place[0] * 3), 2)]
    down = ("upper", "", "lower")[min(int(place[1] * 3), 2)]
    return f"{down} {across}".strip() if across else f"{down} middle".strip() if down else "centre"


def sun_side(scene: Scene) -> tuple[str, str]:
    """Return the side that the light comes from and the side that shadows fall to."""
    return ("right", "left") if scene.light[0] > 0 else ("left", "right")


def caption(scene: Scene, random: Random) -> str:
    """Describe the scene: solids with sizes, colours and materials, the ground, the sky and the light."""
    parts = []
    for number in random.permutation(len(scene.solids)):
        solid = scene.solids[int(number)]
        words = f"{solid.size} {solid.material} {' and '.join(solid.colours)} {pick_word(random, NOUNS[solid.shape])}"
        parts.append(f"{'an' if words[0] in 'aeiou' else 'a'} {words}")
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    side, _ = sun_side(scene)
    slots = {
        "solids": listed,
        "verb": "stands" if len(parts) == 1 else "stand",
        "ground": f"{'' if scene.ground == 'plain' else scene.ground + ' '}{scene.ground_colour}",
        "sky": "cloudy" if scene.clouds > 0.3 else "clear",
        "light": scene.warmth,
        "side": side,
    }
    template = pick(
        random,
        (
            "{solids} {verb} on a {ground} [floor|ground|surface] under a {sky} sky, "
            "lit by {light} light from the {side}.",
            "[in {light} light|under {light} sunlight] from the {side}, {solids} {verb} on a {ground} [floor|ground].",
            "[the picture shows|we see|this is a view of] {solids} on a {ground} [floor|ground]; "
            "the {light} light comes from the {side}.",
            "a {ground} [ground|floor] with {solids}, a {sky} sky above and {light} light from the {side}.",
        ),
    )
    return expand(template, random, slots)


def forgery_attributes(scene: Scene, facts: Sequence[Violation], random: Random) -> dict[str, str | None]:
    """State each violation as a sentence; attributes that are absent map to None.

    `scene` may be the one before its violations, which change no colour, shape, size, material or light that is named.
    """
    sentences: dict[str, str | None] = dict.fromkeys(KINDS)
    side, away = sun_side(scene)
    for fact in facts:
        slots = {"side": side, "away": away}
        if fact.solid is not None:
            solid = scene.solids[fact.solid]
            slots["name"] = noun_phrase(solid, random)
            slots["texture"] = TEXTURES[solid.material]
            slots["first"], slots["second"] = (*solid.colours, solid.second_colour)[:2]
        if fact.other is not None:
            slots["other"] = noun_phrase(scene.solids[fact.other], random)
        if fact.solid is None and fact.place is not None:
            slots["place"] = place_words(fact.place)
        sentences[fact.attribute] = expand(pick_word(random, FORGED[fact.kind]), random, slots)
    return sentences


def authenticity_attributes(scene: Scene, random: Random) -> dict[str, str | None]:
    """State three to five truths of a photographed scene, each about the solid that shows it best.

    Which ones, and of which solid, follows from the scene (see `striking`); only the wording is random.
    """
    found = striking(scene)
    kept = stated(found)
    side, away = sun_side(scene)
    sentences: dict[str, str | None] = {}
    for attribute in AUTHENTICITY:
        solid = found[attribute].solid
        slots = {"side": side, "away": away, "name": noun_phrase(solid, random), "texture": TEXTURES[solid.material]}
        slots["ground"] = f"{scene.ground_colour} ground"
        text = expand(pick_word(random, AUTHENTIC[attribute]), random, slots)
        sentences[attribute] = text if attribute in kept else None
    return sentences


def reference_reasoning(attributes: Mapping[str, str | None]) -> str:
    """Join the sentences by a space in sorted attribute order, absent ones left out: the reference of the metrics."""
    return " ".join(text for _, text in sorted(attributes.items()) if text)


def chain_of_thought(caption_text: str, attributes: Mapping[str, str | None], fake: bool, random: Random) -> str:
    """Return the four stages SUMMARY, CAPTION, REASONING (low level, then high level) and CONCLUSION in tags.

    A level without evidence is left out. Without any, as of a fake whose violations have strength 0, REASONING says so.
    """
    summary = expand(
        "[to decide|to judge|I want to find out] whether the image is real or fake, "
        "[I will describe it|I first describe it|its content is described], then [look at|weigh|examine] "
        "[light, edges, texture and quality|the low-level traces] and [the sense of the whole|what is shown].",
        random,
        {},
    )
    low = " ".join(text for name, text in sorted(attributes.items()) if text and name not in HIGH_LEVEL)
    high = " ".join(text for name, text in sorted(attributes.items()) if text and name in HIGH_LEVEL)
    levels = (("From low-level perspective:", low), ("From high-level perspective:", high))
    reasoning = " ".join(f"{heading} {said}" for heading, said in levels if said)
    reasoning = reasoning or expand("[nothing stands out|no trace is noted].", random, {})
    verdict = "This image is fake." if fake else "This image is real."
    return (
        f"<SUMMARY> {summary} </SUMMARY>\n<CAPTION> {caption_text} </CAPTION>\n"
        f"<REASONING> {reasoning} </REASONING>\n"
        f"<CONCLUSION> {verdict} </CONCLUSION>"
    )


def question(random: Random) -> str:
    """Return one phrasing of the task's question, with the image's place in front."""
    text = expand(
        "[is this image real or fake?|was this image photographed or generated?|decide if this image is real or fake.] "
        "[describe it, reason step by step|give a description and step-by-step reasons] about "
        "[low-level and high-level evidence|its details and its sense], and [conclude|end] with "
        '"This image is real." or "This image is fake."',
        random,
        {},
    )
    return f"<image>\n{text}"
