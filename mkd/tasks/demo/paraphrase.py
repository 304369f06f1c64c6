"""Paraphrase: do two sentences say the same?"""

from mkd.tasks.demo.draw import Draw
from mkd.tasks.demo.forms import (
    Claim,
    Comparison,
    Event,
    make_claim,
    make_comparison,
    make_event,
    say_claim,
    say_comparison,
    say_event,
    valence,
)
from mkd.tasks.demo.lexicon import QUALITIES, SCALES
from mkd.tasks.task import Row

Form = Claim | Event | Comparison


def is_paraphrase(first: Form, second: Form) -> bool:
    """Whether they mean the same. Synonyms, voice and converses are choices of `say`, not of the form."""
    if isinstance(first, Claim) and isinstance(second, Claim):
        return first.thing == second.thing and (valence(first) > 0) == (valence(second) > 0)
    return first == second


def say(draw: Draw, form: Form) -> str:
    """One of the form's realisations."""
    if isinstance(form, Claim):
        return say_claim(draw, form)
    return say_event(draw, form) if isinstance(form, Event) else say_comparison(draw, form)


def restate(draw: Draw, form: Form) -> Form:
    """The same meaning: of an opinion perhaps with another quality, which is denied where it has to be."""
    if not isinstance(form, Claim):
        return form
    quality = draw.pick(tuple(QUALITIES))
    return form._replace(quality=quality, denied=(QUALITIES[quality] > 0) != (valence(form) > 0), doubted=False)


def alter(draw: Draw, form: Form) -> Form:
    """Another meaning in nearly the same words: swapped roles, or a denial more or less."""
    if isinstance(form, Claim):
        form = restate(draw, form)
        return form._replace(denied=not form.denied)
    if draw.chance(0.35):
        return form._replace(denied=not form.denied)
    if isinstance(form, Event):
        return form._replace(agent=form.patient, patient=form.agent)
    if draw.chance(0.2):
        return form._replace(scale=draw.pick_other(SCALES, form.scale))
    return form._replace(left=form.right, right=form.left)


def make_form(draw: Draw) -> Form:
    """A random meaning."""
    kind = draw.random()
    return make_claim(draw, 0.1) if kind < 0.6 else make_comparison(draw) if kind < 0.85 else make_event(draw)


def make(draw: Draw) -> Row:
    """A random row."""
    first = make_form(draw)
    second = (restate if draw.chance(0.5) else alter)(draw, first)
    return Row(say(draw, first), say(draw, second), float(is_paraphrase(first, second)))
