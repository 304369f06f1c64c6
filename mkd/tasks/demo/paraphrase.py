"""The task paraphrase: do two sentences mean the same?"""

from mkd.tasks.demo.forms import (
    HINT,
    Claim,
    Comparison,
    Contrast,
    Event,
    make_claim,
    make_comparison,
    make_contrast,
    make_event,
    say_claim,
    say_comparison,
    say_contrast,
    say_event,
    valence,
    with_valence,
)
from mkd.tasks.demo.lexicon import ACTS, CITIES, SCALES, THINGS
from mkd.tasks.demo.rng import Rng
from mkd.tasks.task import Row

_DENIED = 0.25

Form = Claim | Contrast | Event | Comparison


def is_paraphrase(first: Form, second: Form) -> bool:
    """Returns whether two forms mean the same. A contrast means what its winning claim means.

    Active or passive voice, and the side of a comparison, are chosen by say() and do not matter.
    """
    if isinstance(first, Contrast):
        return is_paraphrase(first.wins._replace(when=getattr(second, "when", "")), second)
    if isinstance(first, Claim) and isinstance(second, Claim):
        same = first[0] == second[0] and first[2:4] == second[2:4]
        return same and (valence(first) > 0) == (valence(second) > 0)
    return first == second


def say(rng: Rng, form: Form) -> str:
    """Returns one of the form's realisations."""
    if isinstance(form, Claim):
        return say_claim(rng, form)
    if isinstance(form, Contrast):
        return say_contrast(rng, form)
    return say_event(rng, form) if isinstance(form, Event) else say_comparison(rng, form)


def restate(rng: Rng, form: Form) -> Form:
    """Returns a form with the same meaning. An opinion gets another quality, denied or not."""
    if isinstance(form, Contrast):
        form = form.wins
    if not isinstance(form, Claim):
        return form
    return with_valence(rng, form._replace(denied=rng.chance(_DENIED)), valence(form))


def alter(rng: Rng, form: Form) -> Form:
    """Returns a form with another meaning in similar words.

    It has swapped roles, the opposite opinion, or another word.
    """
    kind = rng.random()
    if isinstance(form, Contrast):
        form, kind = form.wins, 0.0
    if isinstance(form, Claim):
        if kind < 0.75:
            return with_valence(rng, form._replace(denied=rng.chance(_DENIED)), -valence(form))
        same = with_valence(rng, form._replace(denied=rng.chance(_DENIED)), valence(form))
        return same._replace(thing=rng.pick_other(THINGS, form.thing))
    if kind < 0.2:
        return form._replace(city=rng.pick_other(CITIES, form.city))
    if isinstance(form, Event):
        if kind < 0.35:
            return form._replace(verb=rng.pick_other(ACTS, form.verb))
        return form._replace(agent=form.patient, patient=form.agent)
    if kind < 0.35:
        return form._replace(scale=rng.pick_other(SCALES, form.scale))
    return form._replace(left=form.right, right=form.left)


def make_form(rng: Rng) -> Form:
    """Returns a random form."""
    kind = rng.random()
    if kind < 0.6:
        return make_contrast(rng, HINT) if kind < 0.4 else make_claim(rng, _DENIED, HINT)
    return make_comparison(rng) if kind < 0.8 else make_event(rng)


def make(rng: Rng) -> Row:
    """Returns a random row."""
    first = make_form(rng)
    second = (restate if rng.chance(0.5) else alter)(rng, first)
    # Equal texts would give the label away; each form has several realisations.
    texts = say(rng, first), say(rng, second)
    while texts[0] == texts[1]:
        texts = say(rng, first), say(rng, second)
    return Row(*texts, float(is_paraphrase(first, second)))
