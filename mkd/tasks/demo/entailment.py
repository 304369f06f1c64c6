"""The task entailment: does the second sentence follow from the first?"""

from typing import NamedTuple

from mkd.tasks.demo.forms import Comparison, make_comparison, say_comparison
from mkd.tasks.demo.lexicon import (
    CHILDREN,
    CITIES,
    DEEDS,
    NAMES,
    NOUNS,
    PARENT,
    SCALES,
    TRAITS,
    past,
    plural_noun,
)
from mkd.tasks.demo.rng import Rng
from mkd.tasks.task import Row


class Statement(NamedTuple):
    """A quantified statement, such as `all of the black dogs in oslo walked`."""

    quantifier: str
    noun: str
    deed: str
    trait: str = "black"
    city: str = "oslo"


_WEAKER = {
    "all": ("all", "some"),
    "some": ("some",),
    "no": ("no", "not all"),
    "not all": ("not all",),
}
"""Quantifier -> quantifiers that follow from it, for the same noun and deed.

Every noun phrase is assumed to have members, so `all` implies `some`.
"""
_CONTRARY = {"all": "not all", "some": "no", "not all": "all", "no": "some"}
"""Quantifier -> the weakest quantifier that contradicts it."""
_OF_EXCLUSIVE = {"all": "no", "some": "not all"}
"""Quantifier of a deed -> the quantifier that follows for a deed that excludes it.

Example: all walk, so none crawl.
"""
_NOUN_WIDENS = {"all": -1, "no": -1, "some": 1, "not all": 1}
"""Monotonicity in the noun. 1: the statement implies one with a wider noun; -1: a narrower noun."""
_DEED_WIDENS = {"all": 1, "some": 1, "no": -1, "not all": -1}
"""Monotonicity in the deed, as for the noun."""
_SAY = {"all": "all of", "some": "some of", "no": "none of", "not all": "not all"}
_QUANTIFIERS = tuple(_SAY)
_COMPARISONS = 0.3


def _reaches(first: str, second: str, ways: tuple[int, int]) -> bool:
    """Returns whether the concepts are equal or one of the directions leads to the second.

    ways: 1 for the wider concept, -1 for a narrower one.
    """
    return (
        first == second
        or (1 in ways and PARENT.get(first) == second)
        or (-1 in ways and PARENT.get(second) == first)
    )


def _exclusive(first: str, second: str) -> bool:
    """Returns whether two deeds exclude each other: different deeds of the same kind."""
    return first != second and first in PARENT and PARENT[first] == PARENT.get(second)


def follows(p: Statement, h: Statement) -> bool:
    """Returns whether hypothesis h follows from premise p.

    The quantifier must not be stronger. Noun and deed may change only in the directions that the
    monotonicity of one of the two quantifiers allows.
    """
    if p[3:] != h[3:]:
        return False
    # Reduces exclusive deeds to the same deed: `all walked` becomes `none crawled`.
    if _exclusive(p.deed, h.deed):
        if p.quantifier not in _OF_EXCLUSIVE:
            return False
        p = p._replace(quantifier=_OF_EXCLUSIVE[p.quantifier], deed=h.deed)
    nouns = (_NOUN_WIDENS[p.quantifier], _NOUN_WIDENS[h.quantifier])
    deeds = (_DEED_WIDENS[p.quantifier], _DEED_WIDENS[h.quantifier])
    moves = _reaches(p.noun, h.noun, nouns) and _reaches(p.deed, h.deed, deeds)
    return h.quantifier in _WEAKER[p.quantifier] and moves


def inference(p: Statement, h: Statement) -> int:
    """Returns the label of premise p and hypothesis h: 0 entailment, 1 neutral, 2 contradiction."""
    return (
        0
        if follows(p, h)
        else 2
        if follows(p, h._replace(quantifier=_CONTRARY[h.quantifier]))
        else 1
    )


def compare(p: Comparison, h: Comparison) -> int:
    """Returns the label of two comparisons, as inference()."""
    if {p.left, p.right} != {h.left, h.right} or (p.scale, *p[3:]) != (h.scale, *h[3:]):
        return 1
    return 0 if p.left == h.left else 2


def say(s: Statement) -> str:
    """Returns the sentence for the statement."""
    return f"{_SAY[s.quantifier]} the {s.trait} {plural_noun(s.noun)} in {s.city} {past(s.deed)}"


def make_statement(rng: Rng) -> Statement:
    """Returns a random statement."""
    deed = rng.pick(DEEDS) if rng.chance(0.8) else rng.pick(("move", "talk"))
    noun = rng.pick(NOUNS) if rng.chance(0.8) else rng.pick(("worker", "animal"))
    return Statement(rng.pick(_QUANTIFIERS), noun, deed, rng.pick(TRAITS), rng.pick(CITIES))


def _move(rng: Rng, concept: str) -> str:
    """Returns the wider concept if there is one, else a narrower one."""
    return PARENT[concept] if concept in PARENT else rng.pick(CHILDREN[concept])


def restate(rng: Rng, s: Statement) -> Statement:
    """Returns a similar statement to test: a random quantifier, and at most one other change."""
    s = s._replace(quantifier=rng.pick(_QUANTIFIERS))
    kind = rng.random()
    if kind < 0.2:
        return s._replace(deed=_move(rng, s.deed))
    if kind < 0.35 and s.deed in PARENT:
        return s._replace(deed=rng.pick_other(CHILDREN[PARENT[s.deed]], s.deed))
    if kind < 0.5:
        return s._replace(noun=_move(rng, s.noun))
    if kind < 0.6:
        return s._replace(city=rng.pick_other(CITIES, s.city))
    return s


def _restated_comparison(rng: Rng, c: Comparison) -> Comparison:
    """Returns a similar comparison: often reversed, or with another scale, city or person."""
    if rng.chance(0.5):
        c = c._replace(left=c.right, right=c.left)
    kind = rng.random()
    if kind < 0.12:
        return c._replace(scale=rng.pick_other(SCALES, c.scale))
    if kind < 0.24:
        return c._replace(city=rng.pick_other(CITIES, c.city))
    return c._replace(right=rng.pick_other(NAMES, c.left, c.right)) if kind < 0.36 else c


def make(rng: Rng) -> Row:
    """Returns a random row.

    The class is drawn first. Pairs are generated until one has this class, so that the classes are
    equally frequent for statements and for comparisons.
    """
    target, comparing = int(rng.random() * 3), rng.chance(_COMPARISONS)
    while True:
        if comparing:
            c = make_comparison(rng)
            d = _restated_comparison(rng, c)
            label, texts = compare(c, d), (say_comparison(rng, c), say_comparison(rng, d))
        else:
            p = make_statement(rng)
            h = restate(rng, p)
            label, texts = inference(p, h), (say(p), say(h))
        if label == target and texts[0] != texts[1]:
            return Row(*texts, float(label))
