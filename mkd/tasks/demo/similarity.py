"""Similarity: how near are two opinions?"""

from mkd.tasks.demo.draw import Draw
from mkd.tasks.demo.forms import Claim, make_claim, say_claim, valence
from mkd.tasks.task import Row


def similarity(a: Claim, b: Claim) -> float:
    """From 0 to 5: 5 less 1.25 for each step of valence between them; halved where they are about different things."""
    score = 5 - 1.25 * abs(valence(a) - valence(b))
    return score if a.thing == b.thing else score / 2


def make(draw: Draw) -> Row:
    """A random row; mostly both are about the same thing."""
    first, second = make_claim(draw, 0.1), make_claim(draw, 0.1)
    if draw.chance(0.75):
        second = second._replace(thing=first.thing)
    return Row(say_claim(draw, first), say_claim(draw, second), similarity(first, second))
