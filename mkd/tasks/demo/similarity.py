"""Similarity: how near are two opinions?"""

from mkd.tasks.demo.draw import Draw
from mkd.tasks.demo.forms import HINT, Claim, Contrast, make_claim, make_contrast, say_claim, say_contrast, valence
from mkd.tasks.task import Row

_CONTRASTS = 0.6


def similarity(a: Claim | Contrast, b: Claim) -> float:
    """From 0 to 5: 5 less 1.25 for each step of valence between them; halved where they are about different things.

    Of a contrast the claim counts that is about the second opinion's thing, else the one that wins.
    """
    if isinstance(a, Contrast):
        a = a.yields if a.yields.thing == b.thing else a.wins
    score = 5 - 1.25 * abs(valence(a) - valence(b))
    return score if a.thing == b.thing else score / 2


def make(draw: Draw) -> Row:
    """A random row; mostly both are about the same thing."""
    second = make_claim(draw, 0.2)
    if draw.chance(_CONTRASTS):
        both = make_contrast(draw)
        of = both.yields if draw.chance(0.5) else both.wins
        second = second._replace(thing=of.thing, city=of.city)
        return Row(say_contrast(draw, both), say_claim(draw, second), similarity(both, second))
    first = make_claim(draw, 0.2, HINT)
    if draw.chance(0.75):
        second = second._replace(thing=first.thing)
    return Row(say_claim(draw, first), say_claim(draw, second), similarity(first, second))
