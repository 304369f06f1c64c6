"""Acceptability: is it English? A wrong sentence is a minimal edit of a right one."""

from collections.abc import Callable
from typing import NamedTuple

from mkd.demo.draw import Draw
from mkd.demo.lexicon import ACTS, CITIES, MEN, NOUNS, PAST, PLURAL, THIRD, WOMEN, word
from mkd.tasks import Row


class Phrase(NamedTuple):
    """`the dogs`, `the dog`; `reversed`: `dogs the`."""

    noun: str
    plural: bool
    reversed: bool = False


class Sentence(NamedTuple):
    """One clause about `the` nouns; `link` stands between the subject and its verb: `near the cats`, `that the cats chased`."""

    subject: Phrase
    verb: str
    object: Phrase
    city: str
    plural_verb: bool
    auxiliary: str = ""
    """A key of AUXILIARIES; empty: the present tense."""
    link: tuple[str, Phrase] | None = None
    """A key of LINKS and its noun."""
    verb_last: bool = False


class Reflexive(NamedTuple):
    """Somebody by name did something to herself or himself; another name stands by."""

    name: str
    verb: str
    pronoun: str
    other: str
    frame: str
    """A key of FRAMES."""
    city: str


AUXILIARIES = {"have": ("has", "have"), "do": ("does not", "do not")}
"""Its singular and plural."""
LINKS = {
    "near": "near the {noun}", "behind": "behind the {noun}",
    "subject": "that {past} the {noun}", "object": "that the {noun} {past}",
}  # fmt: skip
FRAMES = {
    "plain": "{name} from {city} {past} {pronoun}",
    "who": "{name} from {city} , who met {other} , {past} {pronoun}",
    "said": "{other} said that {name} from {city} {past} {pronoun}",
}
"""Who else is there does not decide: the pronoun goes with the verb's own subject."""
_LINK_SHARE = 0.6
_ATTRACTOR_SHARE = 0.6
"""How often the noun between subject and verb, or the other name, is of another number or gender than the subject."""


def is_acceptable(s: Sentence | Reflexive) -> bool:
    """Whether number, gender and word order all fit."""
    if isinstance(s, Reflexive):
        return s.pronoun == ("herself" if s.name in WOMEN else "himself")
    return s.plural_verb == s.subject.plural and not (s.verb_last or s.subject.reversed or s.object.reversed)


def _say_phrase(draw: Draw, p: Phrase) -> str:
    noun = word(draw, p.noun)
    noun = PLURAL[noun] if p.plural else noun
    return f"{noun} the" if p.reversed else f"the {noun}"


def _say_verb(draw: Draw, s: Sentence) -> str:
    verb = word(draw, s.verb)
    if not s.auxiliary:
        return verb if s.plural_verb else THIRD[verb]
    return f"{AUXILIARIES[s.auxiliary][s.plural_verb]} {PAST[verb] if s.auxiliary == 'have' else verb}"


def say(draw: Draw, s: Sentence | Reflexive) -> str:
    """The words of the sentence, right or wrong as its form is."""
    if isinstance(s, Reflexive):
        verb = PAST[word(draw, s.verb)]
        return FRAMES[s.frame].format(name=s.name, other=s.other, past=verb, pronoun=s.pronoun, city=s.city)
    subject = _say_phrase(draw, s.subject)
    if s.link:
        frame, other = s.link
        noun = _say_phrase(draw, other).removeprefix("the ")
        subject += " " + LINKS[frame].format(noun=noun, past=PAST[word(draw, draw.pick(ACTS))])
    tail = [_say_verb(draw, s), f"{_say_phrase(draw, s.object)} from {s.city}"]
    return " ".join([subject, *(reversed(tail) if s.verb_last else tail)])


def make_sentence(draw: Draw) -> Sentence:
    """A random acceptable sentence."""
    noun, plural = draw.pick(NOUNS), draw.chance(0.5)
    other = Phrase(draw.pick_other(NOUNS, noun), plural ^ draw.chance(_ATTRACTOR_SHARE))
    link = (draw.pick(tuple(LINKS)), other) if draw.chance(_LINK_SHARE) else None
    target = Phrase(draw.pick_other(NOUNS, noun, other.noun), draw.chance(0.5))
    auxiliary = draw.pick(("", "", *AUXILIARIES))
    return Sentence(Phrase(noun, plural), draw.pick(ACTS), target, draw.pick(CITIES), plural, auxiliary, link)


def _agreement(draw: Draw) -> tuple[Sentence, Sentence]:
    s = make_sentence(draw)
    return s, s._replace(plural_verb=not s.plural_verb)


def _order(draw: Draw) -> tuple[Sentence, Sentence]:
    s = make_sentence(draw)
    place = draw.pick(("verb", "subject", "object"))
    if place == "verb":
        return s, s._replace(verb_last=True)
    return s, s._replace(**{place: getattr(s, place)._replace(reversed=True)})


def _reflexive(draw: Draw) -> tuple[Reflexive, Reflexive]:
    woman = draw.chance(0.5)
    name = draw.pick(WOMEN if woman else MEN)
    other = draw.pick_other(WOMEN if woman ^ draw.chance(_ATTRACTOR_SHARE) else MEN, name)
    right, wrong = ("herself", "himself") if woman else ("himself", "herself")
    s = Reflexive(name, draw.pick(ACTS), right, other, draw.pick(tuple(FRAMES)), draw.pick(CITIES))
    return s, s._replace(pronoun=wrong)


_PHENOMENA: tuple[Callable[[Draw], tuple[Sentence | Reflexive, Sentence | Reflexive]], ...] = (
    *(_agreement,) * 5, *(_reflexive,) * 3, *(_order,) * 2,
)  # fmt: skip
"""Each gives an acceptable sentence and a minimal edit of it that breaks one rule; as often as it stands here."""


def make(draw: Draw) -> Row:
    """A random row."""
    sentence = draw.pick(draw.pick(_PHENOMENA)(draw))
    return Row(say(draw, sentence), None, float(is_acceptable(sentence)))
