"""The words by which a sentence of reasoning is placed (see `claims`): alternatives of regular expressions.

They were gathered from MMFR's attribute names and annotation examples, from printed answers of FakeReasoning, and from
the grammar of FDR-Scenes, whose every sentence they place rightly (tests/metrics/test_claims.py).
"""

from __future__ import annotations

import re
from typing import Literal

Family = Literal["texture", "edges", "lighting", "quality", "semantics"]

# What a sentence is about. The first words of each family name it outright, the second hint at it.
TOPICS: dict[Family, tuple[str, str]] = {
    "lighting": (
        r"light(?:s|ing|ed)?|lit|shadows?|shading|sunlight|sun|illuminat\w+|highlights?",
        r"reflections?|bright\w*|dark\w*|shad(?:e|ed|ows)|lamps?",
    ),
    "edges": (
        r"edges?|outlines?|contours?|silhouettes?|border\w*|boundar\w+|bleeds?|runs out|leak\w*|spills",
        r"ghost\w*|halos?|fringes?|transitions?|separat\w+|blend\w*",
    ),
    "texture": (
        r"textur\w+|surfaces?|patterns?|tiling",
        (
            r"stripes|checks|grain|materials?|skin|fur|plastic|patch\w*|stamp\S*|colours?|colors?|fades?|"
            r"shades off|turns|recurs|repeat\w*|waxy|molten|drip"
        ),
    ),
    "quality": (
        (
            r"quality|resolution|hard steps|flat tones|smear\w*|blur\w*|pixel\w*|blocky|blocks?|banded|banding|"
            r"bands?|posteri[sz]\w+|sharp\w*|resolved|detail|details|noise|noisy|compress\w+"
        ),
        r"clear|clarity|focus|artifacts?|artefacts?|tones?|squares|wiped|streaks?|grainy",
    ),
    "semantics": (
        (
            r"\w*logical\w*|im?plausibl[ey]|sense|gravity|anatom\w*|hover\w*|float\w*|mid-air|in the air|"
            r"hold(?:s)? up|the same space|through each other|interpenetrate|stuck in|cuts? into|pass\w* into|"
            r"sinks? into|tilted|tipped|tip over|stay up|askew|leans?|cut off|sliced|stands?|rests?|common sense|"
            r"physical\w*|impossible|(?:a )?piece of|part of|upper part|top corner|everything|each object|context|"
            r"scenario"
        ),
        (
            r"arrangement|scene|setting|unreali\w+|posed?|objects?|hands?|fingers?|support|cannot|merge\w*|"
            r"contents?|reality|world|missing"
        ),
    ),
}

# Turn what follows within the clause into its contrary.
NEGATORS = r"no|not|never|without|nothing|neither|nor|none|free of|cannot|hardly|any|doesn't|don't|isn't|aren't|lacks?"
# Find fault.
FAULTS = (
    r"inconsisten\w*|unnatural\w*|unrealis\w*|irregular\w*|anomal\w*|abnormal\w*|artificial\w*|distort\w*|blur\w*|"
    r"smear\w*|artifacts?|artefacts?|mismatch\w*|implausib\w*|illogical\w*|impossib\w*|irration\w*|incorrect\w*|"
    r"wrong\w*|strange\w*|odd\w*|unusual\w*|overly|excessive\w*|jagged|wav\w+|wobbl\w*|trembles|ghost\w*|doubled?|"
    r"twice|bleeds?|leak\w*|smudged|spills|halo|molten|melts?|drips?|sags|flows?|dissolv\w+|repeat\w*|recurs|"
    r"tiled|tiling|drifts?|slides|fades?|turns? into|banded|banding|flat (?:bands|tones)|posteri[sz]ed|blocky|"
    r"blocks?|squares|pixelated|coarse|lost|dragged|wiped|streak|floats?|hovers?|floating|hangs?|sinks?|merges?|"
    r"stuck|cut (?:off|into)|cuts into|sliced|missing|leans|tilted|tipped|askew|tip over|fringe|runs out|unlike|"
    r"rather than|too (?:long|short|far|smooth|perfect)|far too|much (?:longer|shorter)|computer-generated|fake|"
    r"plastic|should be|instead of|against (?:all|gravity|the light)|contradict\w*|fail\w*|lacks?|defies|defy|"
    r"interpenetrate|same space|through each other|rippl\w*|unclear|indistinct\w*|suspended|twisted|detached|"
    r"not in accordance|hard steps|cut short|stops abruptly|ends abruptly|cannot|could not|shades off|gradually"
)
# Find merit.
MERITS = (
    r"consisten\w*|natural\w*|realis\w*|smooth\w*|clean\w*|clear\w*|sharp\w*|plausib\w*|coherent\w*|logical\w*|"
    r"rational\w*|common|typical\w*|authentic\w*|accurat\w*|correct\w*|appropriate\w*|match\w*|agrees?|"
    r"as it should|as one would expect|as solid things do|believable|unbroken|even|fine|firmly|plainly|resolved|"
    r"makes sense|detail is kept|high[- ](?:quality|resolution)|quality is high|real|seamless\w*|proper\w*|"
    r"all point|every shadow points|(?:stands?|rests?) (?:firmly|plainly|whole|on)|"
    r"(?:turns|faces) its \w+ side to the light|in keeping|keep\w*|ordinary|stable|regular"
)
# Find fault in so many words that no single praise beside them counts.
TELLING = (
    r"casts? no shadow|throws? no shadow|no shadow|shadow is missing|none is there|nothing holds|no support|as if|"
    r"which (?:no material|makes no sense|cannot|solid things cannot)|does not touch|nothing to (?:hold|prop)|"
    r"unsupported|not (?:clean|stable|possible|real\w*)|although the|its shadow to the \w+ as well|"
    r"to the same side|(?:longer|shorter) than|reaches further|ends sooner|repeated as|runs? beside|accompanies|"
    r"should (?:give|leave|have)|not match|no sense|and again|over and over|"
    r"(?:faces \w+, (?:away from|against) the light)|\bbut (?:the scene's light|everything else)|"
    r"lit on its \w+ side|(?:lit|bright) on its|makes no sense|not fit|bare cut|towards (?:one side|the light on)"
)
# Say that there is nothing to say, or repeat the verdict.
NOTHING = (
    r"nothing (?:else )?(?:stands out|unusual|remarkable|suspicious)|no (?:trace|sign)s? (?:is|are) noted|"
    r"(?:gives?|give) no further evidence|adds? nothing|^therefore,? |^in conclusion|^overall,? this image is|"
    r"^this image is (?:real|fake)\.?$"
)


def words(alternatives: str) -> re.Pattern[str]:
    """Compile alternatives that match whole words in either case."""
    return re.compile(rf"\b(?:{alternatives})\b", re.IGNORECASE)
