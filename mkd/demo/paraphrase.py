"""Paraphrase: do two sentences say the same?"""

from mkd.demo.draw import Draw
from mkd.demo.forms import Comparison, Event, make_comparison, make_event, say_comparison, say_event
from mkd.demo.lexicon import ACTS, NAMES, SCALES, TIMES
from mkd.tasks import Row

Form = Event | Comparison


def is_paraphrase(first: Form, second: Form) -> bool:
    """Whether they mean the same. Synonyms, voice and converses are choices of `say`, not of the form."""
    return first == second


def say(draw: Draw, form: Form) -> str:
    """One of the form's realisations."""
    return say_event(draw, form) if isinstance(form, Event) else say_comparison(draw, form)


def alter(draw: Draw, form: Form) -> Form:
    """Another meaning in nearly the same words: swapped roles, or one part changed."""
    change = draw.random()
    if isinstance(form, Event):
        if change < 0.3:
            return form._replace(agent=form.patient, patient=form.agent)
        if change < 0.5:
            return form._replace(patient=draw.pick_other(NAMES, form.agent, form.patient))
        if change < 0.65:
            return form._replace(verb=draw.pick_other(ACTS, form.verb))
        return form._replace(time=draw.pick_other(TIMES, form.time)) if change < 0.8 else form._replace(denied=not form.denied)
    if change < 0.5:
        return form._replace(left=form.right, right=form.left)
    if change < 0.8:
        return form._replace(scale=draw.pick_other(SCALES, form.scale))
    return form._replace(denied=not form.denied)


def make_form(draw: Draw) -> Form:
    """A random meaning."""
    return make_event(draw) if draw.chance(0.7) else make_comparison(draw)


def make(draw: Draw) -> Row:
    """A random row."""
    first = make_form(draw)
    second = first if draw.chance(0.5) else alter(draw, first)
    return Row(say(draw, first), say(draw, second), float(is_paraphrase(first, second)))
