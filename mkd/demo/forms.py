"""Opinions, which three tasks share, and the sentences that express them."""

from typing import NamedTuple

from mkd.demo.draw import Draw
from mkd.demo.lexicon import CITIES, DAYS, QUALITIES, THINGS


class Claim(NamedTuple):
    """What is said of one thing somewhere; `denied` turns it round."""

    thing: str
    city: str
    quality: str
    denied: bool = False


class Contrast(NamedTuple):
    """Two claims of which the writer stands by the second; `frame` is the key of FRAMES that puts them in order."""

    yields: Claim
    wins: Claim
    frame: str


Opinion = Claim | Contrast

FRAMES = {
    "but": "{yields} , but {wins}",
    "although": "although {yields} , {wins}",
    "even though": "{wins} , even though {yields}",
}
_FRAMES = tuple(FRAMES)
_DENIALS = ("was not", "was not really", "was hardly", "was never")
_AFFIRMATIONS = ("was", "was", "was rather", "was really")
_DENIED_SHARE = 0.2
_DAY_SHARE = 0.4
_DISAGREE_SHARE = 0.7
"""How often two claims that agree are made to disagree."""


def valence(c: Claim) -> int:
    """From -2 (awful) over -1 (bad) and 1 (good) to 2 (superb); what is not bad, or not awful, is good."""
    value = QUALITIES[c.quality]
    return value if not c.denied else -1 if value > 0 else 1


def deciding(opinion: Opinion) -> Claim:
    """The claim that the writer stands by."""
    return opinion.wins if isinstance(opinion, Contrast) else opinion


def say_claim(draw: Draw, c: Claim, days: float = _DAY_SHARE) -> str:
    """A sentence for the claim, so often with a day."""
    verb = draw.pick(_DENIALS if c.denied else _AFFIRMATIONS)
    day = f" on {draw.pick(DAYS)}" if draw.chance(days) else ""
    return f"the {c.thing} in {c.city} {verb} {c.quality}{day}"


def say_opinion(draw: Draw, opinion: Opinion) -> str:
    """A sentence for the opinion; in a contrast days keep its link away from what is said of the things."""
    if isinstance(opinion, Claim):
        return say_claim(draw, opinion)
    return FRAMES[opinion.frame].format(yields=say_claim(draw, opinion.yields, 1), wins=say_claim(draw, opinion.wins, 1))


def make_claim(draw: Draw, *taken: str) -> Claim:
    """A random claim of another thing than those."""
    return Claim(draw.pick_other(THINGS, *taken), draw.pick(CITIES), draw.pick(tuple(QUALITIES)), draw.chance(_DENIED_SHARE))


def make_claims(draw: Draw) -> tuple[Claim, Claim]:
    """Random claims of two things; mostly they disagree."""
    first = make_claim(draw)
    second = make_claim(draw, first.thing)
    if (valence(first) > 0) == (valence(second) > 0) and draw.chance(_DISAGREE_SHARE):
        second = second._replace(denied=not second.denied)
    return first, second


def make_opinion(draw: Draw, contrasts: float) -> Opinion:
    """A random opinion, so often a contrast."""
    if draw.chance(contrasts):
        return Contrast(*make_claims(draw), draw.pick(_FRAMES))
    return make_claim(draw)
