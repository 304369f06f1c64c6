"""The suite that ships with the project: five text tasks generated from a seed, at any size, with no network.

They mirror the kinds of GLUE and share one lexicon. A row begins as a semantic form; its text is one of the form's
realisations and its label a function of the form, so that word counts alone do not give the label away.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from statistics import NormalDist
from typing import Literal, NamedTuple, TypeVar

from mkd import lexicon as lex
from mkd.config import DemoConfig
from mkd.tasks import Kind, Row

SplitName = Literal["train", "dev"]
T = TypeVar("T")

TASKS: dict[str, Kind] = {
    "sentiment": Kind(("negative", "positive"), False, ("accuracy",)),
    "acceptability": Kind(("unacceptable", "acceptable"), False, ("matthews",)),
    "paraphrase": Kind(("not_equivalent", "equivalent"), True, ("accuracy", "f1")),
    "entailment": Kind(("entailment", "neutral", "contradiction"), True, ("accuracy",)),
    "similarity": Kind((), True, ("pearson", "spearman"), (0.0, 5.0)),
}
_DEV_SHARE = 8
"""One text in so many belongs to dev, by its hash; all others to train."""
_PLACES, _ACTS, _DEEDS = tuple(lex.PLACES), tuple(lex.ACTS), tuple(lex.DEEDS)
_NOISE_SD = 1.5
"""How far a noisy score of a regression task is moved: standard deviation of a normal."""


class Draw(Random):
    """A seeded stream of choices; built on Random.random, whose sequence is the same in every Python version."""

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.random() < probability

    def pick(self, options: Sequence[T]) -> T:
        """One of the options, uniformly."""
        return options[int(self.random() * len(options))]

    def pick_other(self, options: Sequence[T], *taken: T) -> T:
        """One of the options that is not taken."""
        while (option := self.pick(options)) in taken:
            pass
        return option


def word(draw: Draw, concept: str) -> str:
    """One of the concept's words."""
    return draw.pick(lex.SYNONYMS[concept])


def name(draw: Draw, concept: str) -> str:
    """A noun phrase for one individual: `mary`, `the doctor`, `the physician`."""
    return "the " + word(draw, concept) if concept in lex.SYNONYMS else concept


# Sentiment: what does the writer think?


class Claim(NamedTuple):
    """Somebody's opinion of one thing; `denied` turns it round, as does a `doubt` cast on the whole claim."""

    thing: str
    quality: str
    denied: bool = False
    doubted: bool = False


class Contrast(NamedTuple):
    """Two claims of which the writer stands by the second; `frame` is the key of FRAMES that puts them in order."""

    yields: Claim
    wins: Claim
    frame: str


class Report(NamedTuple):
    """What another person claims, with the writer's verdict."""

    claim: Claim
    agreed: bool


FRAMES = {
    "but": "{yields} but {wins}",
    "although": "although {yields} , {wins}",
    "even though": "{wins} even though {yields}",
    "mine last": "{who} says that {yields} but i say that {wins}",
    "mine first": "i say that {wins} but {who} says that {yields}",
}
_FRAMES = tuple(FRAMES)
_DENIALS = ("was not", "was not", "was hardly", "was never", "was far from", "was anything but")
_DOUBTS = ("i doubt that", "it is not true that", "nobody could say that")
_BELIEFS = ("i know that", "it is true that", "everybody could say that")
_REJECTIONS = ("but i disagree", "but that is wrong", "and i doubt it")
_AGREEMENTS = ("and i agree", "and that is right", "and i believe it")
_PRAISE = frozenset(lex.POSITIVE + lex.LIKING)
_QUALITIES = (*lex.POSITIVE, *lex.NEGATIVE) * 2 + lex.LIKING + lex.DISLIKING


def is_positive(opinion: Claim | Contrast | Report) -> bool:
    """Whether the writer's opinion is good: each denial or doubt turns a claim round; the writer's own claim decides."""
    match opinion:
        case Claim(_, quality, denied, doubted):
            return (quality in _PRAISE) ^ denied ^ doubted
        case Contrast(_, wins, _):
            return is_positive(wins)
        case Report(claim, agreed):
            return is_positive(claim) == agreed


def say_opinion(draw: Draw, opinion: Claim | Contrast | Report) -> str:
    """A sentence for the opinion."""
    match opinion:
        case Claim(_, _, _, doubted):
            lead = draw.pick(_DOUBTS) + " " if doubted else draw.pick(_BELIEFS) + " " if draw.chance(0.15) else ""
            return lead + _say_claim(draw, opinion)
        case Contrast(yields, wins, frame):
            who = draw.pick(lex.NAMES)
            return FRAMES[frame].format(yields=say_opinion(draw, yields), wins=say_opinion(draw, wins), who=who)
        case Report(claim, agreed):
            verdict = draw.pick(_AGREEMENTS if agreed else _REJECTIONS)
            return f"{draw.pick(lex.NAMES)} says that {say_opinion(draw, claim)} {verdict}"


def _say_claim(draw: Draw, claim: Claim) -> str:
    thing = name(draw, claim.thing)
    if claim.quality in lex.SYNONYMS:
        verb = word(draw, claim.quality)
        if claim.denied and draw.chance(0.5):
            return f"nobody {lex.PAST[verb]} {thing}"
        who = draw.pick(("i", "we", "everybody"))
        return f"{who} did not {verb} {thing}" if claim.denied else f"{who} {lex.PAST[verb]} {thing}"
    degree = draw.pick(("", "", "very ", "really ", "so "))
    return f"{thing} {draw.pick(_DENIALS) if claim.denied else 'was'} {degree}{claim.quality}"


def _claim(draw: Draw, doubt: float) -> Claim:
    return Claim(draw.pick(lex.REVIEWED), draw.pick(_QUALITIES), draw.chance(0.25), draw.chance(doubt))


def make_opinion(draw: Draw) -> Claim | Contrast | Report:
    """A random opinion; the two claims of a contrast mostly disagree."""
    shape = draw.random()
    if shape < 0.5:
        return _claim(draw, 0.15)
    if shape < 0.65:
        return Report(_claim(draw, 0.0), draw.chance(0.6))
    yields, wins = _claim(draw, 0.0), _claim(draw, 0.1)
    if is_positive(yields) == is_positive(wins) and draw.chance(0.8):
        yields = yields._replace(denied=not yields.denied)
    return Contrast(yields, wins, draw.pick(_FRAMES))


def _sentiment(draw: Draw) -> Row:
    opinion = make_opinion(draw)
    return Row(say_opinion(draw, opinion), None, float(is_positive(opinion)))


# Acceptability: is it English?


class Link(NamedTuple):
    """What stands between a subject and its verb: `near the dogs`, or with a verb `that the dogs chased`."""

    noun: str
    plural: bool
    determiner: str = "the"
    verb: str = ""
    filled: str = ""
    """A second object of the verb, where the noun before `that` already is its object."""


class Sentence(NamedTuple):
    """One clause with all that has to fit together."""

    noun: str
    plural: bool
    verb: str
    determiner: str = "the"
    links: tuple[Link, ...] = ()
    auxiliary: str = ""
    """A key of AUXILIARIES; empty: the present tense."""
    plural_verb: bool = False
    form: str = ""
    """How the verb after the auxiliary is inflected: `base` or `past`."""
    object: str = ""
    """A noun, a name, a reflexive pronoun, or nothing."""
    ever: bool = False
    order: str = ""
    """Which two neighbours have changed places: `determiner`, `verb` or `link`."""


AUXILIARIES = {
    "will": ("will", "will", "base"),
    "do": ("does not", "do not", "base"),
    "have": ("has", "have", "past"),
    "was": ("was", "were", "past"),
}
"""Its singular and plural, and the verb form it asks for."""
_AUXILIARIES = tuple(AUXILIARIES)
_SINGULAR = ("a", "this", "that", "every")
_PLURAL = ("these", "those", "many", "several")
_TRANSITIVE = tuple(a for a in lex.ACTS if a not in ("help", "push", "pull", "follow", "visit", "notice", "scold"))
"""Acts whose verbs cannot go without an object."""
_INTRANSITIVE = ("sleep", "crawl", "stroll")
REFLEXIVES = ("himself", "herself", "themselves")


def reflexive(noun: str, plural: bool) -> str:
    """The reflexive pronoun that can refer to the noun; empty where a singular's gender is open."""
    if plural:
        return "themselves"
    return "himself" if noun in lex.MEN or noun == "boy" else "herself" if noun in lex.WOMEN or noun == "girl" else ""


def is_acceptable(s: Sentence) -> bool:
    """Whether number, verb form, arguments, reflexive, `ever` and word order all fit."""
    number = s.determiner not in (_SINGULAR if s.plural else _PLURAL)
    verb = s.plural_verb == s.plural and (not s.auxiliary or s.form == AUXILIARIES[s.auxiliary][2])
    arguments = (s.object == "") == (s.verb in _INTRANSITIVE) and not any(link.filled for link in s.links)
    bound = s.object not in REFLEXIVES or s.object == reflexive(s.noun, s.plural)
    licensed = not s.ever or s.determiner == "no"
    return number and verb and arguments and bound and licensed and not s.order


def _phrase(draw: Draw, determiner: str, noun: str, plural: bool) -> str:
    if noun not in lex.SYNONYMS:
        return noun
    chosen = word(draw, noun)
    chosen = lex.PLURAL[chosen] if plural else chosen
    return f"{'an' if determiner == 'a' and chosen[0] in 'aeiou' else determiner} {chosen}"


def _say_link(draw: Draw, link: Link, swapped: bool) -> str:
    phrase = _phrase(draw, link.determiner, link.noun, link.plural)
    if link.verb:
        verb = lex.PAST[word(draw, link.verb)] + (" " + name(draw, link.filled) if link.filled else "")
        return f"{phrase} that {verb}" if swapped else f"that {phrase} {verb}"
    preposition = draw.pick(("near", "behind", "beside", "with"))
    return f"{phrase} {preposition}" if swapped else f"{preposition} {phrase}"


def _say_verb(draw: Draw, s: Sentence) -> str:
    verb = word(draw, s.verb)
    if not s.auxiliary:
        return ("ever " if s.ever else "") + (verb if s.plural_verb else lex.THIRD[verb])
    auxiliary = AUXILIARIES[s.auxiliary][s.plural_verb]
    inflected = lex.PAST[verb] if s.form == "past" else verb
    return f"{auxiliary} {'ever ' if s.ever else ''}{inflected}{' by' if s.auxiliary == 'was' else ''}"


def say_sentence(draw: Draw, s: Sentence) -> str:
    """The words of the sentence, right or wrong as its form is."""
    subject = _phrase(draw, s.determiner, s.noun, s.plural)
    if s.order == "determiner":
        subject = " ".join(reversed(subject.split()))
    links = [_say_link(draw, link, s.order == "link") for link in s.links]
    verb, target = _say_verb(draw, s), s.object if s.object in REFLEXIVES or not s.object else name(draw, s.object)
    tail = [target, verb] if s.order == "verb" else [verb, target]
    return " ".join(part for part in (subject, *links, *tail) if part)


def make_sentence(draw: Draw) -> Sentence:
    """A random acceptable sentence; the object is another noun than the subject."""
    noun, plural, verb = draw.pick(lex.LEAVES), draw.chance(0.5), draw.pick(_TRANSITIVE)
    links = []
    for _ in range(draw.pick((0, 0, 0, 1, 1, 2))):
        link_verb = draw.pick(_TRANSITIVE) if draw.chance(0.25) else ""
        links.append(Link(draw.pick(lex.LEAVES), draw.chance(0.5 if draw.chance(0.4) else not plural), verb=link_verb))
    auxiliary = draw.pick(("", "do", "have", "was", "was", "will"))
    form = AUXILIARIES[auxiliary][2] if auxiliary else ""
    return Sentence(noun, plural, verb, "the", tuple(links), auxiliary, plural, form, draw.pick_other(lex.LEAVES, noun))


def _agreement(draw: Draw, s: Sentence) -> tuple[Sentence, Sentence]:
    s = s._replace(auxiliary="do") if s.auxiliary == "will" else s
    return s, s._replace(plural_verb=not s.plural)


def _determiner(draw: Draw, s: Sentence) -> tuple[Sentence, Sentence]:
    right, wrong = (_PLURAL, _SINGULAR) if s.plural else (_SINGULAR, _PLURAL)
    return s._replace(determiner=draw.pick(right)), s._replace(determiner=draw.pick(wrong))


def _verb_form(draw: Draw, s: Sentence) -> tuple[Sentence, Sentence]:
    auxiliary = s.auxiliary or draw.pick(_AUXILIARIES)
    form = AUXILIARIES[auxiliary][2]
    s = s._replace(auxiliary=auxiliary, form=form)
    return s, s._replace(form="past" if form == "base" else "base")


def _argument(draw: Draw, s: Sentence) -> tuple[Sentence, Sentence]:
    s = s._replace(auxiliary="" if s.auxiliary == "was" else s.auxiliary)
    if s.links and s.links[0].verb:
        return s, s._replace(links=(s.links[0]._replace(filled=s.object), *s.links[1:]))
    alone = s._replace(verb=draw.pick(_INTRANSITIVE), object="")
    return (s, s._replace(object="")) if draw.chance(0.5) else (alone, alone._replace(object=s.object))


def _reflexive(draw: Draw, s: Sentence) -> tuple[Sentence, Sentence]:
    if not s.plural:
        s = s._replace(noun=draw.pick(lex.NAMES))
    s = s._replace(auxiliary="" if s.auxiliary == "was" else s.auxiliary, object=reflexive(s.noun, s.plural))
    return s, s._replace(object=draw.pick_other(REFLEXIVES, s.object))


def _ever(draw: Draw, s: Sentence) -> tuple[Sentence, Sentence]:
    link = Link(draw.pick(lex.LEAVES), draw.chance(0.5))
    s = s._replace(auxiliary="have", form="past", ever=True)
    return s._replace(determiner="no", links=(link,)), s._replace(links=(link._replace(determiner="no"),))


def _order(draw: Draw, s: Sentence) -> tuple[Sentence, Sentence]:
    return s, s._replace(order=draw.pick(("determiner", "verb", "link") if s.links else ("determiner", "verb")))


_PHENOMENA: tuple[Callable[[Draw, Sentence], tuple[Sentence, Sentence]], ...] = (
    *(_agreement,) * 6, *(_determiner,) * 3, *(_verb_form,) * 4, *(_argument,) * 2, *(_reflexive,) * 2, _ever, *(_order,) * 7,
)  # fmt: skip
"""Each gives an acceptable sentence and a minimal edit of it that breaks one rule; as often as it stands here."""


def _acceptability(draw: Draw) -> Row:
    right, wrong = draw.pick(_PHENOMENA)(draw, make_sentence(draw))
    sentence = right if draw.chance(0.5) else wrong
    return Row(say_sentence(draw, sentence), None, float(is_acceptable(sentence)))


# Paraphrase: two sentences are paraphrases when they are realisations of equal forms.


class Event(NamedTuple):
    """Somebody did, or did not do, something to somebody."""

    agent: str
    verb: str
    patient: str
    place: str = ""
    negated: bool = False


class Comparison(NamedTuple):
    """left > right on a scale named by its positive adjective; `relation` is ">", "<=" or "="."""

    left: str
    scale: str
    right: str
    relation: str = ">"


class Succession(NamedTuple):
    """One event, and then another."""

    first: Event
    second: Event


class Transfer(NamedTuple):
    """Goods that pass from a giver to a receiver, for good (sell, buy) or for a while (lend, borrow)."""

    giver: str
    goods: str
    receiver: str
    for_good: bool


Form = Event | Comparison | Succession | Transfer


def say_event(draw: Draw, e: Event) -> str:
    """Active or passive, or a cleft of either role; the place at the end or in front."""
    agent, patient, verb = name(draw, e.agent), name(draw, e.patient), word(draw, e.verb)
    past, shape = lex.PAST[verb], draw.random()
    active = f"did not {verb}" if e.negated else past
    if shape < 0.6:
        text = f"{agent} {active} {patient}"
    elif shape < 0.9:
        text = f"{patient} was {'not ' if e.negated else ''}{past} by {agent}"
    elif shape < 0.95:
        text = f"it was {patient} that {agent} {active}"
    else:
        text = f"it was {agent} that {active} {patient}"
    if not e.place:
        return text
    place = f"in the {word(draw, e.place)}"
    return f"{place} {text}" if draw.chance(0.25) else f"{text} {place}"


def say_comparison(draw: Draw, c: Comparison) -> str:
    """From either side: `anna is taller than john`, `john is shorter than anna`."""
    left, right, adjective = name(draw, c.left), name(draw, c.right), c.scale
    if draw.chance(0.5):
        left, right = right, left
        adjective = adjective if c.relation == "=" else lex.OPPOSITE[adjective]
    adjective = word(draw, adjective)
    if c.relation == "=":
        return f"{left} is as {adjective} as {right}"
    return f"{left} is {'not ' if c.relation == '<=' else ''}{lex.COMPARATIVE[adjective]} than {right}"


def _say_succession(draw: Draw, s: Succession) -> str:
    frame = draw.pick(("{0} before {1}", "{1} after {0}", "before {1} , {0}", "after {0} , {1}", "{0} and then {1}"))
    return frame.format(say_event(draw, s.first), say_event(draw, s.second))


def _say_transfer(draw: Draw, t: Transfer) -> str:
    giver, receiver, goods = name(draw, t.giver), name(draw, t.receiver), name(draw, t.goods)
    if draw.chance(0.5):
        return f"{giver} {'sold' if t.for_good else 'lent'} {goods} to {receiver}"
    return f"{receiver} {lex.PAST[word(draw, 'buy')] if t.for_good else 'borrowed'} {goods} from {giver}"


def say(draw: Draw, form: Form) -> str:
    """One of the form's realisations."""
    match form:
        case Event():
            return say_event(draw, form)
        case Comparison():
            return say_comparison(draw, form)
        case Succession():
            return _say_succession(draw, form)
        case Transfer():
            return _say_transfer(draw, form)


def _two(draw: Draw) -> tuple[str, str]:
    """Two different people or animals, by name or by noun."""
    cast = lex.NAMES if draw.chance(0.4) else lex.LEAVES
    first = draw.pick(cast)
    return first, draw.pick_other(cast, first)


def make_event(draw: Draw, place: float = 1.0, negated: float = 0.2) -> Event:
    """A random event, with a place and negated at these rates."""
    agent, patient = _two(draw)
    where = draw.pick(_PLACES) if draw.chance(place) else ""
    return Event(agent, draw.pick(_ACTS), patient, where, draw.chance(negated))


def make_form(draw: Draw) -> Form:
    """A random meaning for a paraphrase."""
    shape = draw.random()
    if shape < 0.4:
        return make_event(draw, place=0.5)
    if shape < 0.65:
        left, right = _two(draw)
        return Comparison(left, draw.pick(lex.SCALES), right, ">" if draw.chance(0.75) else "<=")
    if shape < 0.85:
        left, right = _two(draw)
        return Transfer(left, draw.pick(lex.GOODS), right, draw.chance(0.5))
    return Succession(make_event(draw, 0, 0), make_event(draw, 0, 0))


def _other_verb(draw: Draw, verb: str) -> str:
    return lex.OPPOSITE[verb] if verb in lex.OPPOSITE and draw.chance(0.5) else draw.pick_other(_ACTS, verb)


def alter(draw: Draw, form: Form) -> Form:
    """Another meaning in nearly the same words: swapped roles, or one part changed."""
    swap = draw.chance(0.35)
    match form:
        case Event(agent, verb, patient, _, negated):
            if swap:
                return form._replace(agent=patient, patient=agent)
            if draw.chance(0.4):
                return form._replace(negated=not negated)
            cast = lex.NAMES if patient in lex.NAMES else lex.LEAVES
            other = draw.pick_other(cast, agent, patient)
            return form._replace(patient=other) if draw.chance(0.6) else form._replace(verb=_other_verb(draw, verb))
        case Comparison(left, scale, right, relation):
            if swap:
                return form._replace(left=right, right=left)
            if draw.chance(0.5):
                return form._replace(relation=">" if relation == "<=" else "<=")
            return form._replace(scale=draw.pick_other(lex.SCALES, scale))
        case Transfer(giver, goods, receiver, for_good):
            if swap:
                return form._replace(giver=receiver, receiver=giver)
            other = draw.pick_other(lex.GOODS, goods)
            return form._replace(goods=other) if draw.chance(0.5) else form._replace(for_good=not for_good)
        case Succession(first, second):
            if swap:
                return Succession(second, first)
            return Succession(first, second._replace(agent=second.patient, patient=second.agent))


def is_paraphrase(first: Form, second: Form) -> bool:
    """Whether they mean the same. Synonyms, voice, order of clauses and converses are choices of `say`, not of the form."""
    return first == second


def _paraphrase(draw: Draw) -> Row:
    first = make_form(draw)
    second = first if draw.chance(0.5) else alter(draw, first)
    return Row(say(draw, first), say(draw, second), float(is_paraphrase(first, second)))


# Entailment: does the second sentence follow from the first?


class Statement(NamedTuple):
    """So many of a kind did something. `one` and `not one` are about a person by name."""

    quantifier: str
    noun: str
    trait: str
    deed: str
    place: str


_WEAKER = {
    "all": ("all", "most", "some"), "most": ("most", "some"), "some": ("some",), "one": ("one",),
    "no": ("no", "few", "not all"), "few": ("few", "not all"), "not all": ("not all",), "not one": ("not one",),
}  # fmt: skip
"""Quantifier -> those that follow from it, of the same noun and deed. Every noun phrase is taken to have members."""
_CONTRARY = {"all": "not all", "some": "no", "most": "few", "one": "not one"}
_CONTRARY |= {second: first for first, second in _CONTRARY.items()}
"""Quantifier -> the weakest one that rules it out."""
_OF_EXCLUSIVE = {"all": "no", "most": "few", "some": "not all", "one": "not one"}
"""Quantifier of a deed -> what follows of a deed that excludes it: all run, so none sleep."""
_NOUN_WIDENS = {"all": -1, "no": -1, "some": 1, "not all": 1, "most": 0, "few": 0, "one": 0, "not one": 0}
"""1: what holds of a kind holds of a wider one; -1: of a narrower one; 0: of neither."""
_DEED_WIDENS = {"all": 1, "most": 1, "some": 1, "one": 1, "no": -1, "few": -1, "not all": -1, "not one": -1}
_SAY_QUANTIFIER = {
    "all": ("all {0} {1}", "every {2} {1}"), "most": ("most {0} {1}",), "few": ("few {0} {1}",),
    "some": ("some {0} {1}", "there were {0} that {1}"), "no": ("no {0} {1}", "no {2} {1}", "there were no {0} that {1}"),
    "not all": ("not all {0} {1}", "some {0} did not {3}", "not every {2} {1}"),
    "one": ("{2} {1}",), "not one": ("{2} did not {3}",),
}  # fmt: skip


def _width(first: str, second: str) -> int | None:
    """0: the same concept; 1: the second is wider; -1: narrower; None: neither. An empty restriction is the widest."""
    if first == second:
        return 0
    if not second or second in lex.ABOVE.get(first, ()):
        return 1
    return -1 if not first or first in lex.ABOVE.get(second, ()) else None


def _fits(first: tuple[str, str], second: tuple[str, str], allowed: tuple[int, int]) -> bool:
    """Whether the step from a concept and its restriction to another goes one of the allowed ways, if it goes at all."""
    if first == second:
        return True
    concept, restriction = _width(first[0], second[0]), _width(first[1], second[1])
    if concept is None or restriction is None or concept * restriction < 0:
        return False
    return (concept or restriction) in allowed


def follows(p: Statement, h: Statement) -> bool:
    """Whether h is true whenever p is: its quantifier no stronger, noun and deed moved only the ways they may be."""
    if p.deed in lex.EXCLUSIVE and h.deed in lex.EXCLUSIVE[p.deed]:
        if p.quantifier not in _OF_EXCLUSIVE:
            return False
        p = p._replace(quantifier=_OF_EXCLUSIVE[p.quantifier], deed=h.deed, place=h.place)
    if h.quantifier not in _WEAKER[p.quantifier]:
        return False
    noun = (_NOUN_WIDENS[p.quantifier], _NOUN_WIDENS[h.quantifier])
    deed = (_DEED_WIDENS[p.quantifier], _DEED_WIDENS[h.quantifier])
    return _fits((p.noun, p.trait), (h.noun, h.trait), noun) and _fits((p.deed, p.place), (h.deed, h.place), deed)


def negated(s: Statement) -> Statement:
    """The weakest statement that rules it out."""
    return s._replace(quantifier=_CONTRARY[s.quantifier])


def inference(p: Statement, h: Statement) -> int:
    """0: entailment, 1: neutral, 2: contradiction."""
    return 0 if follows(p, h) else 2 if follows(p, negated(h)) else 1


_ORDERS = {">": {1}, "<=": {-1, 0}, "=": {0}}


def compare(premises: Sequence[Comparison], h: Comparison) -> int:
    """The same from comparisons: one, or a chain of two in which the first's right is the second's left."""
    known = list(premises)
    if len(premises) == 2 and premises[0].scale == premises[1].scale:
        known.append(premises[0]._replace(right=premises[1].right))
    claimed = _ORDERS[h.relation]
    for p in known:
        if p.scale == h.scale and {p.left, p.right} == {h.left, h.right}:
            possible = {order if p.left == h.left else -order for order in _ORDERS[p.relation]}
            return 0 if possible <= claimed else 1 if possible & claimed else 2
    return 1


def say_statement(draw: Draw, s: Statement) -> str:
    """A sentence for the statement."""
    verb, place = word(draw, s.deed), f" in the {word(draw, s.place)}" if s.place else ""
    if s.quantifier in ("one", "not one"):
        plural = singular = s.noun
    else:
        noun, trait = word(draw, s.noun), s.trait + " " if s.trait else ""
        plural, singular = trait + lex.PLURAL[noun], trait + noun
    return draw.pick(_SAY_QUANTIFIER[s.quantifier]).format(plural, lex.PAST[verb] + place, singular, verb + place)


_QUANTIFIERS = tuple(q for q in _WEAKER if "one" not in q)
_KINDS = (*lex.ACTORS, "person", "animal")
_TRIES = 6
"""Hypotheses tried for one premise; some premises have none of the wanted class."""


def make_statement(draw: Draw) -> Statement:
    """A random statement."""
    trait = draw.pick(lex.TRAITS) if draw.chance(0.4) else ""
    place = draw.pick(_PLACES) if draw.chance(0.5) else ""
    if draw.chance(0.3):
        return Statement("one" if draw.chance(0.6) else "not one", draw.pick(lex.NAMES), "", draw.pick(_DEEDS), place)
    return Statement(draw.pick(_QUANTIFIERS), draw.pick(_KINDS), trait, draw.pick(_DEEDS), place)


def _move(draw: Draw, concept: str) -> str:
    """A wider or a narrower concept, where there is one."""
    near = lex.ABOVE[concept][1:] if draw.chance(0.5) else lex.BELOW[concept]
    return draw.pick(near) if near else concept


def restate(draw: Draw, s: Statement) -> Statement:
    """A statement near the given one, to be tested against it."""
    quantifier, noun, trait, deed, place = s
    named = quantifier in ("one", "not one")
    if draw.chance(0.7):
        quantifier = draw.pick(("one", "not one") if named else _QUANTIFIERS)
    if not named and draw.chance(0.4):
        noun = _move(draw, noun)
    if not named and draw.chance(0.25):
        trait = "" if trait else draw.pick(lex.TRAITS)
    if draw.chance(0.5):
        deed = draw.pick(lex.EXCLUSIVE[deed]) if lex.EXCLUSIVE[deed] and draw.chance(0.5) else _move(draw, deed)
    if draw.chance(0.25):
        place = "" if place else draw.pick(_PLACES)
    return Statement(quantifier, noun, trait, deed, place)


def make_comparisons(draw: Draw) -> tuple[list[Comparison], Comparison]:
    """One or two premises about three people, and a hypothesis about two of them."""
    a, b = _two(draw)
    c, scale = draw.pick_other(lex.NAMES if a in lex.NAMES else lex.LEAVES, a, b), draw.pick(lex.SCALES)
    premises = [Comparison(a, scale, b, draw.pick((">", ">", "<=")))]
    if draw.chance(0.4):
        premises = [Comparison(a, scale, b), Comparison(b, scale, c)]
    left, right = draw.pick(((a, b), (b, a)) if len(premises) == 1 else ((a, b), (c, b), (a, c), (c, a), (a, c), (c, a)))
    scale = scale if draw.chance(0.75) else draw.pick(lex.SCALES)
    return premises, Comparison(left, scale, right, draw.pick((">", ">", "<=", "=")))


def _entailment(draw: Draw) -> Row:
    """A class is drawn first and hypotheses are tried until one has it, so that the three are equally common."""
    target, comparing = int(draw.random() * 3), draw.chance(0.3)
    while True:
        if comparing:
            premises, conclusion = make_comparisons(draw)
            if compare(premises, conclusion) == target:
                text = " and ".join(say_comparison(draw, premise) for premise in premises)
                return Row(text, say_comparison(draw, conclusion), float(target))
            continue
        p = make_statement(draw)
        for h in (restate(draw, p) for _ in range(_TRIES)):
            label = inference(p, h)
            if label + target == 2 and label != target:  # negating the hypothesis turns entailment into contradiction, and back
                h, label = negated(h), target
            if label == target and p != h:
                return Row(say_statement(draw, p), say_statement(draw, h), float(target))


# Similarity: how much of one event is in the other?


def similarity(a: Event, b: Event) -> float:
    """From 0 to 5: agent, verb and patient count 1.4 each and the place 0.8; halved if only one of them happened.

    Somebody who is in both events, but in the other role, counts 0.3.
    """
    score = 1.4 * ((a.agent == b.agent) + (a.verb == b.verb) + (a.patient == b.patient)) + 0.8 * (a.place == b.place)
    score += 0.3 * ((a.agent == b.patient) + (a.patient == b.agent))
    return round(score if a.negated == b.negated else score / 2, 2)


def vary(draw: Draw, e: Event) -> Event:
    """An event that shares some of the given one."""
    agent, verb, patient, place, negated = e
    changes = draw.pick((0, 1, 1, 2, 3))
    for part in (draw.pick("avpl") for _ in range(changes)):
        if part == "a":
            agent = draw.pick_other(lex.LEAVES, agent, patient)
        elif part == "v":
            verb = _other_verb(draw, verb)
        elif part == "p":
            patient = draw.pick_other(lex.LEAVES, agent, patient)
        else:
            place = draw.pick_other(_PLACES, place)
    if draw.chance(0.4):
        agent, patient = patient, agent
    return Event(agent, verb, patient, place, negated ^ draw.chance(0.3))


def _similarity(draw: Draw) -> Row:
    first = make_event(draw, negated=0.35)
    second = vary(draw, first)
    return Row(say_event(draw, first), say_event(draw, second), similarity(first, second))


# Rows


_MAKERS: dict[str, Callable[[Draw], Row]] = {
    "sentiment": _sentiment,
    "acceptability": _acceptability,
    "paraphrase": _paraphrase,
    "entailment": _entailment,
    "similarity": _similarity,
}


def is_dev(row: Row) -> bool:
    """Whether the text (both texts, in either order) belongs to dev: a hash decides, so no row is in both splits."""
    texts = row.text_a if row.text_b is None else "\n".join(sorted((row.text_a, row.text_b)))
    return zlib.crc32(texts.encode()) % _DEV_SHARE == 0


def _noisy(label: float, kind: Kind, uniform: float) -> float:
    """Another class, or the score moved; `uniform`, between 0 and 1, says which or how far."""
    if kind.range is None:
        others = [index for index in range(len(kind.labels)) if index != label]
        return float(others[int(uniform * len(others))])
    low, high = kind.range
    return round(min(max(label + NormalDist(0, _NOISE_SD).inv_cdf(max(uniform, 1e-12)), low), high), 2)


def _clean(task: str, split: SplitName, seed: int) -> Iterator[Row]:
    draw, make = Draw(f"{seed} {task} {split}"), _MAKERS[task]
    while True:
        row = make(draw)
        if is_dev(row) == (split == "dev"):
            yield row


def _train(task: str, config: DemoConfig) -> Iterator[Row]:
    clean, noise = _clean(task, "train", config.seed), Random(f"{config.seed} {task} noise")
    for row in islice(clean, config.train_rows):
        changed, uniform = noise.random() < config.label_noise, noise.random()
        assert row.label is not None, "a generated row has a label"
        yield row._replace(label=_noisy(row.label, TASKS[task], uniform)) if changed else row
    for row in islice(clean, config.unlabelled_rows):
        yield row._replace(label=None)


def _check(task: str, split: str) -> None:
    if task not in TASKS:
        raise ValueError(f"demo task is {task!r}; allowed: {', '.join(TASKS)}")
    if split not in ("train", "dev"):
        raise ValueError(f"demo split is {split!r}; allowed: train, dev")


def rows(task: str, split: SplitName, config: DemoConfig) -> Iterator[Row]:
    """The rows, made one by one: in train the labelled ones, then those without a label; in dev all have clean labels.

    They depend on config.seed, task and split alone; asking for more rows keeps the first ones.
    """
    _check(task, split)
    return _train(task, config) if split == "train" else islice(_clean(task, "dev", config.seed), config.dev_rows)


def fingerprint(task: str, split: str, config: DemoConfig) -> str:
    """Changes whenever the rows would: sha256 of the generator's source, the task, the split and the settings."""
    _check(task, split)
    digest = hashlib.sha256()
    for source in (__file__, lex.__file__):
        digest.update(Path(source).read_bytes())
    digest.update(repr((task, split, config)).encode())
    return digest.hexdigest()
