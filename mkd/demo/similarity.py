"""Similarity: how near are two opinions?"""

from mkd.demo.draw import Draw
from mkd.demo.forms import Claim, Contrast, Opinion, deciding, make_opinion, say_opinion, valence
from mkd.tasks import Row

_CONTRAST_SHARE = 0.2
_SAME_SHARE = 0.75


def similarity(a: Opinion, b: Opinion) -> float:
    """From 0 to 5: 5 less 1.25 for each step of valence between what they stand by; halved where that is of other things."""
    first, second = deciding(a), deciding(b)
    score = 5 - 1.25 * abs(valence(first) - valence(second))
    return score if first.thing == second.thing else score / 2


def _about(opinion: Opinion, claim: Claim) -> Opinion:
    """The opinion, of the thing and the place that the claim is of."""
    if isinstance(opinion, Claim):
        return opinion._replace(thing=claim.thing, city=claim.city)
    yields = opinion.yields
    if yields.thing == claim.thing:
        yields = yields._replace(thing=opinion.wins.thing)
    return Contrast(yields, opinion.wins._replace(thing=claim.thing, city=claim.city), opinion.frame)


def make(draw: Draw) -> Row:
    """A random row; mostly both are about the same thing."""
    first, second = make_opinion(draw, _CONTRAST_SHARE), make_opinion(draw, _CONTRAST_SHARE)
    if draw.chance(_SAME_SHARE):
        second = _about(second, deciding(first))
    return Row(say_opinion(draw, first), say_opinion(draw, second), similarity(first, second))
