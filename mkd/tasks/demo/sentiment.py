"""Sentiment: what does the writer think of it?"""

from typing import NamedTuple

from mkd.tasks.demo.draw import Draw
from mkd.tasks.demo.forms import Claim, make_claim, say_claim, valence
from mkd.tasks.task import Row


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


def is_positive(opinion: Claim | Contrast) -> bool:
    """Whether the opinion is good; of a contrast the claim that wins decides."""
    return valence(opinion.wins if isinstance(opinion, Contrast) else opinion) > 0


def say(draw: Draw, opinion: Claim | Contrast) -> str:
    """A sentence for the opinion."""
    if isinstance(opinion, Contrast):
        return FRAMES[opinion.frame].format(yields=say_claim(draw, opinion.yields), wins=say_claim(draw, opinion.wins))
    return say_claim(draw, opinion)


def make_opinion(draw: Draw) -> Claim | Contrast:
    """A random opinion; the two claims of a contrast mostly disagree."""
    if draw.chance(0.75):
        return make_claim(draw, 0.1)
    yields, wins = make_claim(draw, 0.0), make_claim(draw, 0.0)
    if is_positive(yields) == is_positive(wins) and draw.chance(0.8):
        yields = yields._replace(denied=not yields.denied)
    return Contrast(yields, wins, draw.pick(_FRAMES))


def make(draw: Draw) -> Row:
    """A random row."""
    opinion = make_opinion(draw)
    return Row(say(draw, opinion), None, float(is_positive(opinion)))
