"""Paraphrase: do two sentences say the same?"""

from typing import NamedTuple

from mkd.demo.draw import Draw
from mkd.demo.forms import Claim, make_claim, make_claims, say_claim, valence
from mkd.demo.lexicon import ACTS, CITIES, DAYS, NAMES, PAST, QUALITIES, word
from mkd.tasks import Row


class Event(NamedTuple):
    """Somebody from somewhere did something to somebody else."""

    agent: tuple[str, str]
    """Name and city."""
    verb: str
    patient: tuple[str, str]
    day: str


class Claims(NamedTuple):
    """One claim, or two of different things, in any order."""

    claims: frozenset[Claim]


Form = Event | Claims

_EVENT_SHARE = 0.35
_TWO_SHARE = 0.4
_PASSIVE_SHARE = 0.3


def is_paraphrase(first: Form, second: Form) -> bool:
    """Whether they mean the same: the same event, or each thing is spoken well of in both or ill of in both."""
    if isinstance(first, Event) or isinstance(second, Event):
        return first == second
    meanings = [{(c.thing, c.city, valence(c) > 0) for c in form.claims} for form in (first, second)]
    return meanings[0] == meanings[1]


def _say_event(draw: Draw, e: Event) -> str:
    """Active, or less often passive; the day comes first or last."""
    verb = PAST[word(draw, e.verb)]
    agent, patient = (f"{name} from {city}" for name, city in (e.agent, e.patient))
    text = f"{patient} was {verb} by {agent}" if draw.chance(_PASSIVE_SHARE) else f"{agent} {verb} {patient}"
    return f"on {e.day} {text}" if draw.chance(0.5) else f"{text} on {e.day}"


def say(draw: Draw, form: Form) -> str:
    """One of the form's realisations."""
    if isinstance(form, Event):
        return _say_event(draw, form)
    claims = sorted(form.claims)
    if len(claims) == 1:
        return say_claim(draw, claims[0])
    first, second = claims if draw.chance(0.5) else claims[::-1]
    link = "and" if (valence(first) > 0) == (valence(second) > 0) else "but"
    return f"{say_claim(draw, first)} , {link} {say_claim(draw, second)}"


def _judged(draw: Draw, claim: Claim, well: bool) -> Claim:
    """A claim that speaks well, or ill, of the same thing: any quality, denied where it has to be."""
    quality = draw.pick(tuple(QUALITIES))
    return claim._replace(quality=quality, denied=(QUALITIES[quality] > 0) != well)


def restate(draw: Draw, form: Form) -> Form:
    """The same meaning: each thing perhaps with another quality."""
    if isinstance(form, Event):
        return form
    return Claims(frozenset(_judged(draw, claim, valence(claim) > 0) for claim in sorted(form.claims)))


def alter(draw: Draw, form: Form) -> Form:
    """Another meaning in nearly the same words: roles or verdicts change places, or one verdict is turned round."""
    if isinstance(form, Event):
        return form._replace(agent=form.patient, patient=form.agent)
    claims = sorted(form.claims)
    well = [valence(claim) > 0 for claim in claims]
    if well == [True, False] or well == [False, True]:
        turned = well[::-1]
    else:
        place = int(draw.random() * len(claims))
        turned = [good != (i == place) for i, good in enumerate(well)]
    return Claims(frozenset(_judged(draw, claim, good) for claim, good in zip(claims, turned, strict=True)))


def make_form(draw: Draw) -> Form:
    """A random meaning."""
    if draw.chance(_EVENT_SHARE):
        agent = draw.pick(NAMES)
        patient = draw.pick_other(NAMES, agent), draw.pick(CITIES)
        return Event((agent, draw.pick(CITIES)), draw.pick(ACTS), patient, draw.pick(DAYS))
    return Claims(frozenset(make_claims(draw) if draw.chance(_TWO_SHARE) else (make_claim(draw),)))


def make(draw: Draw) -> Row:
    """A random row; the two texts differ."""
    first, same = make_form(draw), draw.chance(0.5)
    second = (restate if same else alter)(draw, first)
    text = other = say(draw, first)
    while other == text:
        other = say(draw, second)
    return Row(text, other, float(same))
