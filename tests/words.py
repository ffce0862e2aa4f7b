"""The words that are out, and what to say instead. docs/glossary.md shows them, tests/test_words.py looks for them."""
from __future__ import annotations

from typing import NamedTuple


class Out(NamedTuple):
    """A wording that is out: how it is found (a regular expression), as a reader knows it, and what to say."""

    pattern: str
    wording: str
    instead: str


# What may follow "is no": a comparison, or a fixed phrase.
COMPARED = "longer|more|less|fewer|better|worse|faster|slower|larger|smaller|wider|narrower|later|earlier|sooner|such"
PHRASES = "reason|doubt|need|way|use"
# What makes a noun of "answer", which is a verb too.
BEFORE_NOUN = ("an?|the|no|any|all|each|every|its|their|one|two|this|of|with|without|for|as|same|very|other|only|wrong|"
               "right|half an|[0-9]+")
AFTER_NOUN = "of|are|were|from|to|under|and|cannot|should"

WORDS = (
    Out(r"\bpictures?\b", "picture", "image; plot, for what the tool draws"),
    Out(r"\bdata sets?\b", "data set", "dataset"),
    Out(rf"((?<!\w)({BEFORE_NOUN})|'s) answers?\b|\banswers ({AFTER_NOUN})\b|^\s*answers\b", "answer (noun)",
        "detections, for boxes with scores; response, for what a call returns"),
    Out(r"\bquiet runs?\b", "quiet run", "sequential run"),
    Out(r"\bfound again\b", "found again", "matched"),
    Out(r"\bcanar(y|ies)\b", "canary", "reference workload; a canary is a partial rollout"),
    Out(r"\bat the begin\b|\b(the|its|their|a|each) begin\b", "begin (noun)", "start"),
    Out(r"\bmend(s|ed|ing)?\b", "mend", "fix, repair"),
    Out(r"\bamiss\b", "what is amiss", "why, the reason, what is missing"),
    Out(rf"(?<!there )\b(is|are|was|were) no (?!({COMPARED}|{PHRASES})\b)[a-z]", "is no …", "is not a …, must be …"),
    Out(r"\bleft to (itself|themselves)\b", "left to itself", "dropped, rejected, given up"),
    Out(r"\b(is|are|was|were|be|being) told\b(?!\s+(apart|to)\b)", "is told", "is reported, is shown"),
    Out(r"\btells\b(?!(\s+\w+){0,3}\s+apart\b)", "tells", "reports, shows, explains"),
    Out(r"\b(than|of|as) the run before\b", "than the run before", "than the baseline"),
    Out(r"\bof the kind\b", "of the kind", "such images, or nothing"),
    Out(r"\bhow it looks at\b", "how it looks at images", "pre- and post-processing profile"),
    Out(r"\bfall of AP\b", "fall of AP", "AP drop"),
    Out(r"\b(that|which|header|it) (?-i:is none)\b", "that is none", "that is not one"),
)


def markdown_table() -> str:
    """The words as a Markdown table."""
    return "\n".join(["| out | say |", "|---|---|", *(f"| {word.wording} | {word.instead} |" for word in WORDS)])
