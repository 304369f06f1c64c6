"""Entailment: does the second sentence follow from the first?"""

from typing import NamedTuple

from mkd.tasks.demo.draw import Draw
from mkd.tasks.demo.forms import Comparison, make_comparison, say_comparison
from mkd.tasks.demo.lexicon import CHILDREN, CITIES, DEEDS, NAMES, NOUNS, PARENT, SCALES, TRAITS, past, plural
from mkd.tasks.task import Row


class Statement(NamedTuple):
    """So many of a kind did something."""

    quantifier: str
    noun: str
    deed: str
    trait: str = "black"
    city: str = "oslo"


_WEAKER = {"all": ("all", "some"), "some": ("some",), "no": ("no", "not all"), "not all": ("not all",)}
"""Quantifier -> those that follow from it, of the same noun and deed. Every noun phrase is taken to have members."""
_CONTRARY = {"all": "not all", "some": "no", "not all": "all", "no": "some"}
"""Quantifier -> the weakest one that rules it out."""
_OF_EXCLUSIVE = {"all": "no", "some": "not all"}
"""Quantifier of a deed -> what follows of a deed that excludes it: all walk, so none crawl."""
_NOUN_WIDENS = {"all": -1, "no": -1, "some": 1, "not all": 1}
"""1: what holds of a kind holds of a wider one; -1: of a narrower one."""
_DEED_WIDENS = {"all": 1, "some": 1, "no": -1, "not all": -1}
_SAY = {"all": "all of", "some": "some of", "no": "none of", "not all": "not all"}
_QUANTIFIERS = tuple(_SAY)
_COMPARISONS = 0.3


def _reaches(first: str, second: str, ways: tuple[int, int]) -> bool:
    """Whether one of the ways leads from the first concept to the second."""
    return first == second or (1 in ways and PARENT.get(first) == second) or (-1 in ways and PARENT.get(second) == first)


def _exclusive(first: str, second: str) -> bool:
    """Whether nobody does both at once."""
    return first != second and first in PARENT and PARENT[first] == PARENT.get(second)


def follows(p: Statement, h: Statement) -> bool:
    """Whether h is true whenever p is: its quantifier no stronger, noun and deed moved only the ways they may be."""
    if p[3:] != h[3:]:
        return False
    if _exclusive(p.deed, h.deed):
        if p.quantifier not in _OF_EXCLUSIVE:
            return False
        p = p._replace(quantifier=_OF_EXCLUSIVE[p.quantifier], deed=h.deed)
    nouns = (_NOUN_WIDENS[p.quantifier], _NOUN_WIDENS[h.quantifier])
    deeds = (_DEED_WIDENS[p.quantifier], _DEED_WIDENS[h.quantifier])
    moves = _reaches(p.noun, h.noun, nouns) and _reaches(p.deed, h.deed, deeds)
    return h.quantifier in _WEAKER[p.quantifier] and moves


def inference(p: Statement, h: Statement) -> int:
    """0: entailment, 1: neutral, 2: contradiction."""
    return 0 if follows(p, h) else 2 if follows(p, h._replace(quantifier=_CONTRARY[h.quantifier])) else 1


def compare(p: Comparison, h: Comparison) -> int:
    """The same from one comparison to another."""
    if {p.left, p.right} != {h.left, h.right} or (p.scale, *p[3:]) != (h.scale, *h[3:]):
        return 1
    return 0 if p.left == h.left else 2


def say(s: Statement) -> str:
    """The sentence for the statement."""
    return f"{_SAY[s.quantifier]} the {s.trait} {plural(s.noun)} in {s.city} {past(s.deed)}"


def make_statement(draw: Draw) -> Statement:
    """A random statement."""
    deed = draw.pick(DEEDS) if draw.chance(0.8) else draw.pick(("move", "talk"))
    noun = draw.pick(NOUNS) if draw.chance(0.8) else draw.pick(("worker", "animal"))
    return Statement(draw.pick(_QUANTIFIERS), noun, deed, draw.pick(TRAITS), draw.pick(CITIES))


def _move(draw: Draw, concept: str) -> str:
    """The wider concept, or a narrower one."""
    return PARENT[concept] if concept in PARENT else draw.pick(CHILDREN[concept])


def restate(draw: Draw, s: Statement) -> Statement:
    """A statement near the given one, to be tested against it: another quantifier, and at most one other part."""
    s = s._replace(quantifier=draw.pick(_QUANTIFIERS))
    kind = draw.random()
    if kind < 0.2:
        return s._replace(deed=_move(draw, s.deed))
    if kind < 0.35 and s.deed in PARENT:
        return s._replace(deed=draw.pick_other(CHILDREN[PARENT[s.deed]], s.deed))
    if kind < 0.5:
        return s._replace(noun=_move(draw, s.noun))
    if kind < 0.6:
        return s._replace(city=draw.pick_other(CITIES, s.city))
    return s


def _restated_comparison(draw: Draw, c: Comparison) -> Comparison:
    """A comparison near the given one: often from the other side, and about another scale, place or person."""
    if draw.chance(0.5):
        c = c._replace(left=c.right, right=c.left)
    kind = draw.random()
    if kind < 0.12:
        return c._replace(scale=draw.pick_other(SCALES, c.scale))
    if kind < 0.24:
        return c._replace(city=draw.pick_other(CITIES, c.city))
    return c._replace(right=draw.pick_other(NAMES, c.left, c.right)) if kind < 0.36 else c


def make(draw: Draw) -> Row:
    """A class is drawn first and hypotheses are tried until one has it, so that each form is as often of each class."""
    target, comparing = int(draw.random() * 3), draw.chance(_COMPARISONS)
    while True:
        if comparing:
            c = make_comparison(draw)
            d = _restated_comparison(draw, c)
            label, texts = compare(c, d), (say_comparison(draw, c), say_comparison(draw, d))
        else:
            p = make_statement(draw)
            h = restate(draw, p)
            label, texts = inference(p, h), (say(p), say(h))
        if label == target and texts[0] != texts[1]:
            return Row(*texts, float(label))
