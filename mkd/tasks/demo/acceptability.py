"""The task acceptability: is a sentence grammatical?

An unacceptable sentence is a minimal edit of an acceptable one.
"""

from collections.abc import Callable
from typing import NamedTuple

from mkd.tasks.demo.lexicon import ACTS, NOUNS, past, plural_noun, third
from mkd.tasks.demo.rng import Rng
from mkd.tasks.task import Row


class Phrase(NamedTuple):
    """A noun phrase, such as `the dogs` or `this dog`; with reversed=True, `dogs the`."""

    noun: str
    plural: bool
    determiner: str = "the"
    reversed: bool = False


class Sentence(NamedTuple):
    """A clause, with all parts that must agree.

    link is a phrase between the subject and its verb, such as `near the cats`.
    """

    subject: Phrase
    verb: str
    object: Phrase
    link: Phrase | None = None
    auxiliary: str = ""
    """A key of AUXILIARIES. Empty: no auxiliary, present tense."""
    plural_verb: bool = False
    form: str = ""
    """Form of the verb after the auxiliary: `base` or `past`."""
    verb_last: bool = False


AUXILIARIES = {
    "will": ("will", "will", "base"),
    "do": ("does not", "do not", "base"),
    "have": ("has", "have", "past"),
}
"""Auxiliary -> its singular, its plural and the verb form that it needs."""
_AUXILIARIES = tuple(AUXILIARIES)
_SINGULAR = ("this", "every")
_PLURAL = ("these", "many")
_PREPOSITIONS = ("near", "behind")


def is_acceptable(s: Sentence) -> bool:
    """Returns whether number, verb form and word order are all correct."""
    agreement = s.plural_verb == s.subject.plural and (
        not s.auxiliary or s.form == AUXILIARIES[s.auxiliary][2]
    )
    phrases = all(
        p.determiner not in (_SINGULAR if p.plural else _PLURAL) for p in (s.subject, s.object)
    )
    return (
        agreement
        and phrases
        and not s.verb_last
        and not s.subject.reversed
        and not s.object.reversed
    )


def _say_phrase(p: Phrase) -> str:
    noun = plural_noun(p.noun) if p.plural else p.noun
    return f"{noun} {p.determiner}" if p.reversed else f"{p.determiner} {noun}"


def _say_verb(s: Sentence) -> str:
    if not s.auxiliary:
        return s.verb if s.plural_verb else third(s.verb)
    return (
        f"{AUXILIARIES[s.auxiliary][s.plural_verb]} {past(s.verb) if s.form == 'past' else s.verb}"
    )


def say(rng: Rng, s: Sentence) -> str:
    """Returns the text of a sentence, acceptable or not."""
    link = f" {rng.pick(_PREPOSITIONS)} {_say_phrase(s.link)}" if s.link else ""
    tail = [_say_verb(s), _say_phrase(s.object)]
    return " ".join([_say_phrase(s.subject) + link, *(reversed(tail) if s.verb_last else tail)])


def make_sentence(rng: Rng) -> Sentence:
    """Returns a random acceptable sentence. A link's number is independent of the subject's."""
    noun, many = rng.pick(NOUNS), rng.chance(0.5)
    link = Phrase(rng.pick_other(NOUNS, noun), rng.chance(0.5)) if rng.chance(0.6) else None
    auxiliary = rng.pick(("", "", *_AUXILIARIES))
    form = AUXILIARIES[auxiliary][2] if auxiliary else ""
    target = Phrase(rng.pick_other(NOUNS, noun), rng.chance(0.5))
    return Sentence(Phrase(noun, many), rng.pick(ACTS), target, link, auxiliary, many, form)


def _agreement(rng: Rng, s: Sentence) -> tuple[Sentence, Sentence]:
    # `will` has the same form in singular and plural, so it cannot show an error of agreement.
    s = s._replace(auxiliary="do") if s.auxiliary == "will" else s
    return s, s._replace(plural_verb=not s.plural_verb)


def _determiner(rng: Rng, s: Sentence) -> tuple[Sentence, Sentence]:
    place = rng.pick(("subject", "object"))
    right, wrong = (_PLURAL, _SINGULAR) if getattr(s, place).plural else (_SINGULAR, _PLURAL)
    chosen = [
        getattr(s, place)._replace(determiner=rng.pick(options)) for options in (right, wrong)
    ]
    return s._replace(**{place: chosen[0]}), s._replace(**{place: chosen[1]})


def _verb_form(rng: Rng, s: Sentence) -> tuple[Sentence, Sentence]:
    auxiliary = s.auxiliary or rng.pick(_AUXILIARIES)
    form = AUXILIARIES[auxiliary][2]
    s = s._replace(auxiliary=auxiliary, form=form)
    return s, s._replace(form="past" if form == "base" else "base")


def _order(rng: Rng, s: Sentence) -> tuple[Sentence, Sentence]:
    place = rng.random()
    if place < 0.4:
        return s, s._replace(verb_last=True)
    name = "subject" if place < 0.7 else "object"
    return s, s._replace(**{name: getattr(s, name)._replace(reversed=True)})


_PHENOMENA: tuple[Callable[[Rng, Sentence], tuple[Sentence, Sentence]], ...] = (
    *(_agreement,) * 4,
    *(_determiner,) * 2,
    *(_verb_form,) * 2,
    *(_order,) * 2,
)
"""Functions that return an acceptable sentence and a minimal edit of it that breaks one rule.

A function is listed several times to be chosen more often.
"""


_WRONG_OF_PLURAL = 0.7
"""Probability that a sentence with a plural subject is unacceptable.

It is also the probability that one with a singular subject is acceptable. This simple hint helps a
model to start learning.
"""


def make(rng: Rng) -> Row:
    """Returns a random row."""
    right, wrong = rng.pick(_PHENOMENA)(rng, make_sentence(rng))
    sentence = (
        wrong
        if rng.chance(_WRONG_OF_PLURAL if right.subject.plural else 1 - _WRONG_OF_PLURAL)
        else right
    )
    return Row(say(rng, sentence), None, float(is_acceptable(sentence)))
