"""Entailment: does the second sentence follow from the first?"""

from typing import NamedTuple

from mkd.demo.draw import Draw
from mkd.demo.lexicon import CHILDREN, CITIES, DEEDS, NOUNS, PARENT, PAST, PLURAL, TRAITS, word
from mkd.tasks import Row


class Statement(NamedTuple):
    """So many of a kind, from somewhere, did something."""

    quantifier: str
    noun: str
    city: str
    deed: str
    trait: str = ""
    """Narrows the noun: `young doctors`."""


_WEAKER = {"all": ("all", "some"), "some": ("some",), "no": ("no", "not all"), "not all": ("not all",)}
"""Quantifier -> those that follow from it, of the same noun and deed. Every noun phrase is taken to have members."""
_CONTRARY = {"all": "not all", "some": "no", "not all": "all", "no": "some"}
"""Quantifier -> the weakest one that rules it out."""
_OF_EXCLUSIVE = {"all": "no", "some": "not all"}
"""Quantifier of a deed -> what follows of a deed that excludes it: all walk, so none crawl."""
_NOUN_WIDENS = {"all": -1, "no": -1, "some": 1, "not all": 1}
"""1: what holds of a kind holds of a wider one; -1: of a narrower one."""
_DEED_WIDENS = {"all": 1, "some": 1, "no": -1, "not all": -1}
_SAY = {"all": "all {noun} {past}", "some": "some {noun} {past}", "no": "no {noun} {past}", "not all": "not all {noun} {past}"}
_QUANTIFIERS = tuple(_SAY)
_LINKS = ("and", "but", "while")
_TWO_SHARE = 0.35
"""How often the premise makes two statements, of other nouns, places and deeds."""
_TRAIT_SHARE = 0.3
_TRIES = 6
"""Hypotheses tried for one premise; some premises have none of the wanted class."""


def _within(narrow: tuple[str, str], wide: tuple[str, str]) -> bool:
    """Whether all that is in the first (concept, trait) is in the second."""
    return (narrow[0] == wide[0] or PARENT.get(narrow[0]) == wide[0]) and wide[1] in ("", narrow[1])


def _reaches(first: tuple[str, str], second: tuple[str, str], ways: tuple[int, int]) -> bool:
    """Whether one of the ways leads from the first (concept, trait) to the second."""
    return first == second or (1 in ways and _within(first, second)) or (-1 in ways and _within(second, first))


def _exclusive(first: str, second: str) -> bool:
    """Whether nobody does both at once."""
    return first != second and first in PARENT and PARENT[first] == PARENT.get(second)


def follows(p: Statement, h: Statement) -> bool:
    """Whether h is true whenever p is: its quantifier no stronger, noun and deed moved only the ways they may be."""
    if p.city != h.city:
        return False
    if _exclusive(p.deed, h.deed):
        if p.quantifier not in _OF_EXCLUSIVE:
            return False
        p = p._replace(quantifier=_OF_EXCLUSIVE[p.quantifier], deed=h.deed)
    nouns = (_NOUN_WIDENS[p.quantifier], _NOUN_WIDENS[h.quantifier])
    deeds = (_DEED_WIDENS[p.quantifier], _DEED_WIDENS[h.quantifier])
    moves = _reaches((p.noun, p.trait), (h.noun, h.trait), nouns) and _reaches((p.deed, ""), (h.deed, ""), deeds)
    return h.quantifier in _WEAKER[p.quantifier] and moves


def inference(p: Statement, h: Statement) -> int:
    """0: entailment, 1: neutral, 2: contradiction."""
    return 0 if follows(p, h) else 2 if follows(p, h._replace(quantifier=_CONTRARY[h.quantifier])) else 1


def inference_of(premises: list[Statement], h: Statement) -> int:
    """The same of statements about other kinds in other places: what none of them decides alone is open."""
    return next((found for p in premises if (found := inference(p, h)) != 1), 1)


def say(draw: Draw, s: Statement) -> str:
    """A sentence for the statement."""
    noun = f"{s.trait} {PLURAL[word(draw, s.noun)]} from {s.city}".strip()
    return _SAY[s.quantifier].format(noun=noun, past=PAST[word(draw, s.deed)])


def make_statement(draw: Draw) -> Statement:
    """A random statement."""
    trait = draw.pick(TRAITS) if draw.chance(_TRAIT_SHARE) else ""
    return Statement(draw.pick(_QUANTIFIERS), draw.pick(NOUNS), draw.pick(CITIES), draw.pick(DEEDS), trait)


def make_premises(draw: Draw) -> list[Statement]:
    """One statement, or two of which no word is the same but perhaps the trait."""
    first = second = make_statement(draw)
    if not draw.chance(_TWO_SHARE):
        return [first]
    while any(a == b for a, b in zip(first[:4], second[:4], strict=True)):
        second = make_statement(draw)
    return [first, second]


def _move(draw: Draw, concept: str) -> str:
    """The wider concept, or a narrower one."""
    return PARENT[concept] if concept in PARENT else draw.pick(CHILDREN[concept])


def restate(draw: Draw, s: Statement, other: Statement) -> Statement:
    """A statement near the given one: perhaps another quantifier, and at most one other part, if it can be the other's."""
    if draw.chance(0.7):
        s = s._replace(quantifier=draw.pick(_QUANTIFIERS))
    change = draw.random()
    if change < 0.3:
        return s._replace(deed=other.deed if other.deed != s.deed else draw.pick(CHILDREN[PARENT[s.deed]]))
    if change < 0.4:
        return s._replace(deed=_move(draw, s.deed))
    if change < 0.45:
        return s._replace(noun=_move(draw, s.noun))
    if change < 0.6:
        return s._replace(trait="" if s.trait else draw.pick(TRAITS))
    return s


def make(draw: Draw) -> Row:
    """A class is drawn first and hypotheses are tried until one has it, so that the three are equally common."""
    target = int(draw.random() * 3)
    while True:
        premises = make_premises(draw)
        for _ in range(_TRIES):
            of, other = premises[0], premises[-1]
            if draw.chance(0.5):
                of, other = other, of
            hypothesis = restate(draw, of, other)
            if inference_of(premises, hypothesis) == target and hypothesis not in premises:
                text = f" , {draw.pick(_LINKS)} ".join(say(draw, p) for p in premises)
                return Row(text, f"so {say(draw, hypothesis)}", float(target))
