"""Similarity: how much of one event is in the other?"""

from mkd.demo.draw import Draw
from mkd.demo.forms import Event, another, make_event, say_event
from mkd.demo.lexicon import ACTS
from mkd.tasks import Row


def similarity(a: Event, b: Event) -> float:
    """From 0 to 5: 2 for the verb, 1.5 for each role that the same one has; halved if only one of them happened."""
    score = 2 * (a.verb == b.verb) + 1.5 * (a.agent == b.agent) + 1.5 * (a.patient == b.patient)
    return score if a.negated == b.negated else score / 2


def vary(draw: Draw, e: Event) -> Event:
    """An event that shares some of the given one."""
    agent, verb, patient, negated = e
    for part in (draw.pick("avp") for _ in range(draw.pick((0, 1, 2, 3)))):
        if part == "a":
            agent = another(draw, agent, patient)
        elif part == "v":
            verb = draw.pick_other(ACTS, verb)
        else:
            patient = another(draw, patient, agent)
    if draw.chance(0.2):
        agent, patient = patient, agent
    return Event(agent, verb, patient, negated ^ draw.chance(0.25))


def make(draw: Draw) -> Row:
    """A random row."""
    first = make_event(draw)
    second = vary(draw, first)
    return Row(say_event(draw, first), say_event(draw, second), similarity(first, second))
