"""The task similarity: how similar are two opinions, from 0 to 5?"""

from mkd.tasks.demo.forms import (
    HINT,
    Claim,
    Contrast,
    make_claim,
    make_contrast,
    say_claim,
    say_contrast,
    valence,
)
from mkd.tasks.demo.rng import Rng
from mkd.tasks.task import Row

_CONTRASTS = 0.6


def similarity(a: Claim | Contrast, b: Claim) -> float:
    """Returns the similarity of two opinions, from 0 to 5.

    It is 5 - 1.25 * |difference of valence|, and half of that if the things differ. The claim of a
    contrast that counts is the yielding one if it is about b's thing, else the winning one.
    """
    if isinstance(a, Contrast):
        a = a.yields if a.yields.thing == b.thing else a.wins
    score = 5 - 1.25 * abs(valence(a) - valence(b))
    return score if a.thing == b.thing else score / 2


def make(rng: Rng) -> Row:
    """Returns a random row. Usually both texts are about the same thing."""
    second = make_claim(rng, 0.2)
    if rng.chance(_CONTRASTS):
        both = make_contrast(rng)
        of = both.yields if rng.chance(0.5) else both.wins
        second = second._replace(thing=of.thing, city=of.city)
        return Row(say_contrast(rng, both), say_claim(rng, second), similarity(both, second))
    first = make_claim(rng, 0.2, HINT)
    if rng.chance(0.75):
        second = second._replace(thing=first.thing)
    return Row(say_claim(rng, first), say_claim(rng, second), similarity(first, second))
