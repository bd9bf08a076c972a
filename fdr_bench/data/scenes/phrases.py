"""The grammar's words: several phrasings for each fact, with choices in brackets and slots in braces."""

from __future__ import annotations

NOUNS: dict[str, tuple[str, ...]] = {
    "sphere": ("sphere", "ball", "globe"),
    "box": ("box", "block", "cuboid"),
    "cylinder": ("cylinder", "drum", "column"),
    "cone": ("cone", "conical solid"),
}
TEXTURES: dict[str, str] = {
    "matte": "matte surface",
    "glossy": "glossy surface",
    "striped": "stripes",
    "checked": "checks",
    "grainy": "grain",
}

FORGED: dict[str, tuple[str, ...]] = {
    "shadow-towards-light": (
        "the shadow of the {name} falls [towards|to the same side as] the light on the {side}, [which cannot "
        "be|against all optics].",
        "light [comes|arrives] from the {side}, [yet|but] the {name} [casts|throws] its shadow to the {side} as well.",
        "although the [sun stands|light is] on the {side}, the {name} has its shadow [on the {side}|to the "
        "{side}] instead of the {away}.",
    ),
    "shadow-missing": (
        "the {name} [casts no shadow|throws no shadow at all] [on the ground|although the light comes from "
        "the {side}].",
        "[there is no shadow|a shadow is missing] [beneath|under|beside] the {name}, [while the light is "
        "strong|in spite of the light from the {side}].",
        "light from the {side} should [give|leave] the {name} a shadow to its {away}, but [none is there|the "
        "ground is bright].",
    ),
    "shadow-longer": (
        "the shadow of the {name} is [far too long|much longer than it should be] for [the height of the "
        "light|this light].",
        "the {name} [throws|casts] a shadow [longer|that reaches further] than the [height of the sun|light "
        "from the {side}] allows.",
        "[compared with the light|given how high the light stands], the shadow behind the {name} is "
        "[stretched too far|too long].",
    ),
    "shadow-shorter": (
        "the shadow of the {name} is [far too short|much shorter than it should be] for [the height of the "
        "light|this light].",
        "the {name} [throws|casts] a shadow [shorter|that ends sooner] than the [height of the sun|light "
        "from the {side}] asks for.",
        "[compared with the light|given how low the light stands], the shadow next to the {name} is [cut "
        "short|too short].",
    ),
    "lit-from-wrong-side": (
        "the {name} is [lit|bright] on its {away} side, [while|although] the light [comes|falls in] from the {side}.",
        "shading on the {name} [suggests|implies] a light on the {away}, [but the scene's light is|but "
        "everything else is lit from] on the {side}.",
        "the [bright|sunny] side of the {name} faces {away}, [away from the light|against the light] on the {side}.",
    ),
    "wobbles": (
        "the outline of the {name} [wobbles|is wavy|trembles] [where it should be clean|instead of running smoothly].",
        "[jagged, wavy|unsteady, rippling] edges [surround|run around] the {name}.",
        "the [contour|edge] of the {name} is [distorted in small waves|rippled like water].",
    ),
    "doubles": (
        "the outline of the {name} [appears twice|is doubled by a faint ghost] [on one side|beside it].",
        "a [second|ghostly second] [contour|edge] [runs beside|accompanies] the {name}.",
        "[next to|beside] the {name} its [edge|outline] is repeated as a [ghost|faint line].",
    ),
    "bleeds": (
        "the colour of the {name} [bleeds|runs out] [over its outline|into what surrounds it].",
        "the edge of the {name} is [not clean: its colour leaks|smudged, its colour leaking] into the "
        "[background|surroundings].",
        "[a halo|a fringe] of its own colour [spills|spreads] [past|over] the [border|outline] of the {name}.",
    ),
    "melts": (
        "the {texture} of the {name} [melts|flows] downwards [as if it were wet|like wax].",
        "the surface of the {name} [looks molten|seems to drip], its {texture} [running down|smeared downwards].",
        "[instead of being regular|unlike a real surface], the {texture} of the {name} [sags and "
        "flows|dissolves towards the foot].",
    ),
    "repeats": (
        "the surface of the {name} [repeats|is tiled with] [the same small patch|one patch] [over and "
        "over|again and again].",
        "one [stamp-like|identical] patch [recurs|is repeated] at a [fixed|visible] period across the {name}.",
        "the texture of the {name} is [a copy of one patch, repeated|a visible tiling of one small piece].",
    ),
    "drifts": (
        "the surface of the {name} [drifts|slides] from one colour into {second} [across it|from side to side].",
        "[across|over] the {name} the pattern [changes by itself|is not stable]: {first} [turns|fades] into {second}.",
        "the {name} [gradually turns|shades off] {second} towards one side, [with no cause|which no material does].",
    ),
    "smeared": (
        "the [picture|image] is smeared in the {place}, [where detail is dragged sideways|as if wiped].",
        "[a smear|a dragged, blurred patch] [lies|can be seen] in the {place} of the [picture|image].",
        "detail in the {place} has been [dragged out|wiped sideways] into a [smear|blurred streak].",
    ),
    "banded": (
        "[tones|colours] in the {place} [break|fall] into [a few flat bands|hard steps].",
        "[a patch|an area] in the {place} shows [banding|only a few flat tones] [instead of smooth "
        "shading|where tones should blend].",
        "the {place} of the [picture|image] is [posterised|banded], [its tones reduced to a few|with hard "
        "steps of tone].",
    ),
    "blocky": (
        "the {place} of the [picture|image] is [blocky|pixelated] and [lacks|has lost] fine detail.",
        "[a patch|an area] in the {place} [dissolves|breaks up] into coarse blocks.",
        "detail is lost in the {place}, where only [coarse squares|large blocks] remain.",
    ),
    "floats": (
        "the {name} [floats|hovers] above the ground [with nothing to hold it|without support].",
        "[nothing holds up|there is no support under] the {name}, which [hangs in the air|floats over its shadow].",
        "the {name} does not touch the ground [but hovers over it|and hangs in mid-air].",
    ),
    "sinks": (
        "the {name} [sinks|passes] into the {other}, [as if neither were solid|which solid things cannot do].",
        "the {name} and the {other} [occupy the same space|run through each other].",
        "[two solids|the two] [merge|interpenetrate]: the {name} [is stuck in|cuts into] the {other}.",
    ),
    "cut-off": (
        "[a piece|part] of the {name} is [cut off|missing] [for no reason|without cause], [leaving a flat "
        "cut|as if sliced].",
        "the {name} is [incomplete|truncated]: its [upper part|top corner] [ends abruptly|is sliced away].",
        "the upper part of the {name} [stops abruptly|has been sliced away], [which makes no sense|leaving a "
        "bare cut].",
    ),
    "leans": (
        "the {name} [leans over|is tilted] [at an impossible angle|without falling], [with nothing to prop "
        "it|unsupported].",
        "[tilted on its rim|balanced on its rim], the {name} [should tip over|could not stay up].",
        "the {name} [stands askew|is tipped to one side], [against gravity|a pose it could not keep].",
    ),
}

AUTHENTIC: dict[str, tuple[str, ...]] = {
    "Consistent Lighting and Shadows": (
        "the light comes from the {side} and the shadow of the {name} falls to the {away}, [as it "
        "should|consistently].",
        "[shadows all point|every shadow points] to the {away}, [in keeping|which agrees] with the light "
        "from the {side}.",
        "the {name} [turns|faces] its {side} side to the light, [and its shadow lies|with its shadow] to the {away}.",
    ),
    "High Image Quality": (
        "[detail is kept|the picture is clear] from the {ground} to the {name}, with [even|fine, even] noise.",
        "[the image|the picture] is [clear|sharp] throughout, [and the {name} shows fine detail|with no "
        "smears or blocks].",
        "[nothing is smeared, banded or blocky|no area has lost detail]; the {name} is [well|clearly] resolved.",
    ),
    "Natural and Consistent Image Texture": (
        "the {texture} of the {name} [looks|appears] [natural|even] and [consistent|the same] all over.",
        "the surface of the {name} is [consistent|plausible], its {texture} [following the form|unbroken].",
        "the {ground} and the {name} have [natural|believable] textures that [do not repeat|stay consistent].",
    ),
    "Semantic Rationality": (
        "the {name} [rests|stands] [firmly|plainly] on the ground, [as one would expect|as solid things do].",
        "[everything|each object], [such as|including] the {name}, [stands on|rests on] the {ground} in a "
        "plausible way.",
        "the arrangement [makes sense|is plausible]: the {name} [stands whole on|rests on] the {ground}.",
    ),
    "Smooth and Natural Image Edges": (
        "the outline of the {name} is [clean|smooth] and [unbroken|natural].",
        "[clean, natural|smooth] edges [separate|set off] the {name} from the [background|scene].",
        "the [edges|contours] of the {name} run [smoothly|cleanly] [without ghosts or wobbles|against what "
        "is behind it].",
    ),
}
