"""Sentiment: what does the writer think of it?"""

from typing import NamedTuple

from mkd.demo.draw import Draw
from mkd.tasks import Row

THINGS = ("film", "play", "book", "song", "meal", "hotel", "plot", "ending")
POSITIVE = ("good", "great", "superb", "charming", "lovely", "brilliant", "funny", "clever", "pleasant", "moving")
NEGATIVE = ("bad", "awful", "terrible", "boring", "ugly", "dreadful", "silly", "clumsy", "tedious", "bland")


class Claim(NamedTuple):
    """An opinion of one thing; `denied` turns it round, as does a `doubt` cast on the whole claim."""

    thing: str
    quality: str
    denied: bool = False
    doubted: bool = False


class Contrast(NamedTuple):
    """Two claims of which the writer stands by the second; `frame` is the key of FRAMES that puts them in order."""

    yields: Claim
    wins: Claim
    frame: str


FRAMES = {
    "but": "{yields} but {wins}",
    "although": "although {yields} , {wins}",
    "even though": "{wins} even though {yields}",
}
_FRAMES = tuple(FRAMES)
_DENIALS = ("was not", "was not", "was hardly", "was never")
_DEGREES = ("", "", "very ", "really ")


def is_positive(opinion: Claim | Contrast) -> bool:
    """Whether the opinion is good: each denial or doubt turns a claim round; the claim that wins decides."""
    if isinstance(opinion, Contrast):
        return is_positive(opinion.wins)
    return (opinion.quality in POSITIVE) ^ opinion.denied ^ opinion.doubted


def say(draw: Draw, opinion: Claim | Contrast) -> str:
    """A sentence for the opinion."""
    if isinstance(opinion, Contrast):
        return FRAMES[opinion.frame].format(yields=say(draw, opinion.yields), wins=say(draw, opinion.wins))
    verb = draw.pick(_DENIALS) if opinion.denied else "was"
    lead = "i doubt that " if opinion.doubted else "i think that " if draw.chance(0.1) else ""
    return f"{lead}the {opinion.thing} {verb} {draw.pick(_DEGREES)}{opinion.quality}"


def _claim(draw: Draw, doubt: float) -> Claim:
    return Claim(draw.pick(THINGS), draw.pick(POSITIVE + NEGATIVE), draw.chance(0.25), draw.chance(doubt))


def make_opinion(draw: Draw) -> Claim | Contrast:
    """A random opinion; the two claims of a contrast mostly disagree."""
    if draw.chance(0.75):
        return _claim(draw, 0.1)
    yields, wins = _claim(draw, 0.0), _claim(draw, 0.0)
    if is_positive(yields) == is_positive(wins) and draw.chance(0.8):
        yields = yields._replace(denied=not yields.denied)
    return Contrast(yields, wins, draw.pick(_FRAMES))


def make(draw: Draw) -> Row:
    """A random row."""
    opinion = make_opinion(draw)
    return Row(say(draw, opinion), None, float(is_positive(opinion)))
