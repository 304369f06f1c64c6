"""Entailment: does the second sentence follow from the first?"""

from typing import NamedTuple

from mkd.tasks.demo.draw import Draw
from mkd.tasks.demo.forms import Comparison, make_comparison, say_comparison
from mkd.tasks.demo.lexicon import CHILDREN, DEEDS, NAMES, NOUNS, PARENT, PAST, PLURAL, SCALES, word
from mkd.tasks.task import Row


class Statement(NamedTuple):
    """So many of a kind did something. `one` and `not one` are about a person by name."""

    quantifier: str
    noun: str
    deed: str
    trait: str = ""
    """Narrows the noun: `black dogs`."""


_WEAKER = {
    "all": ("all", "some"), "some": ("some",), "one": ("one",),
    "no": ("no", "not all"), "not all": ("not all",), "not one": ("not one",),
}  # fmt: skip
"""Quantifier -> those that follow from it, of the same noun and deed. Every noun phrase is taken to have members."""
_CONTRARY = {"all": "not all", "some": "no", "one": "not one", "not all": "all", "no": "some", "not one": "one"}
"""Quantifier -> the weakest one that rules it out."""
_OF_EXCLUSIVE = {"all": "no", "some": "not all", "one": "not one"}
"""Quantifier of a deed -> what follows of a deed that excludes it: all walk, so none crawl."""
_NOUN_WIDENS = {"all": -1, "no": -1, "some": 1, "not all": 1, "one": 0, "not one": 0}
"""1: what holds of a kind holds of a wider one; -1: of a narrower one; 0: of neither."""
_DEED_WIDENS = {"all": 1, "some": 1, "one": 1, "no": -1, "not all": -1, "not one": -1}
_SAY = {
    "all": "all {noun} {past}", "some": "some {noun} {past}", "one": "{noun} {past}",
    "no": "no {noun} {past}", "not all": "some {noun} did not {deed}", "not one": "{noun} did not {deed}",
}  # fmt: skip
_QUANTIFIERS = ("all", "some", "no", "not all")
_TRAITS = ("black", "hungry")
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


def compare(p: Comparison, h: Comparison) -> int:
    """The same from one comparison to another."""
    if p.scale != h.scale or {p.left, p.right} != {h.left, h.right}:
        return 1
    if p.left == h.left:
        return 0 if p.denied == h.denied else 2
    return 1 if p.denied else 0 if h.denied else 2


def say(draw: Draw, s: Statement) -> str:
    """A sentence for the statement."""
    noun = s.noun if s.noun in NAMES else f"{s.trait} {PLURAL[word(draw, s.noun)]}".strip()
    deed = word(draw, s.deed)
    return _SAY[s.quantifier].format(noun=noun, deed=deed, past=PAST[deed])


def make_statement(draw: Draw) -> Statement:
    """A random statement."""
    deed = draw.pick(DEEDS) if draw.chance(0.7) else draw.pick(("move", "talk"))
    if draw.chance(0.2):
        return Statement(draw.pick(("one", "not one")), draw.pick(NAMES), deed)
    noun = draw.pick(NOUNS) if draw.chance(0.7) else draw.pick(("worker", "animal"))
    return Statement(draw.pick(_QUANTIFIERS), noun, deed, draw.pick(_TRAITS) if draw.chance(0.25) else "")


def _move(draw: Draw, concept: str) -> str:
    """The wider concept, or a narrower one."""
    return PARENT[concept] if concept in PARENT else draw.pick(CHILDREN[concept])


def restate(draw: Draw, s: Statement) -> Statement:
    """A statement near the given one, to be tested against it: another quantifier, and at most one other part."""
    quantifier, noun, deed, trait = s
    named = noun in NAMES
    if draw.chance(0.7):
        quantifier = draw.pick(("one", "not one") if named else _QUANTIFIERS)
    change = draw.random()
    if change < 0.15:
        deed = _move(draw, deed)
    elif change < 0.3:
        deed = draw.pick(CHILDREN[PARENT[deed]] if deed in PARENT else CHILDREN[deed])
    elif change < 0.45 and not named:
        noun = _move(draw, noun)
    elif change < 0.55 and not named:
        trait = "" if trait else draw.pick(_TRAITS)
    return Statement(quantifier, noun, deed, trait)


def _restated_comparison(draw: Draw, p: Comparison) -> Comparison:
    """A comparison of the same two, mostly on the same scale; now and then with somebody else."""
    left, right = draw.pick(((p.left, p.right), (p.right, p.left)))
    if draw.chance(0.15):
        right = draw.pick_other(NAMES, p.left, p.right)
    return Comparison(left, p.scale if draw.chance(0.8) else draw.pick(SCALES), right, draw.chance(0.25))


def make(draw: Draw) -> Row:
    """A class is drawn first and hypotheses are tried until one has it, so that the three are equally common."""
    target, comparing = int(draw.random() * 3), draw.chance(0.25)
    while True:
        if comparing:
            p = make_comparison(draw)
            h = _restated_comparison(draw, p)
            if compare(p, h) == target:
                return Row(say_comparison(draw, p), say_comparison(draw, h), float(target))
            continue
        premise = make_statement(draw)
        for hypothesis in (restate(draw, premise) for _ in range(_TRIES)):
            if inference(premise, hypothesis) == target and hypothesis != premise:
                return Row(say(draw, premise), say(draw, hypothesis), float(target))
