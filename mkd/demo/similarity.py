"""Similarity: how much of one event is in the other?"""

from mkd.demo.draw import Draw
from mkd.demo.forms import Event, make_event, say_event
from mkd.tasks import Row


def similarity(a: Event, b: Event) -> float:
    """From 0 to 5: 1.5 for the verb, 1 for the time, 1.25 for each role that the same one has; halved if only one is denied.

    Somebody who is in both events, but in the other role, counts 0.5.
    """
    score = 1.5 * (a.verb == b.verb) + (a.time == b.time) + 1.25 * ((a.agent == b.agent) + (a.patient == b.patient))
    score += 0.5 * ((a.agent == b.patient) + (a.patient == b.agent))
    return score if a.denied == b.denied else score / 2


def vary(draw: Draw, e: Event) -> Event:
    """An event that shares some of the given one."""
    other = make_event(draw)
    keeps = draw.random()
    verb, time = (mine if draw.chance(keeps) else new for mine, new in ((e.verb, other.verb), (e.time, other.time)))
    agent, patient = (e.agent, e.patient) if draw.chance(keeps) else (other.agent, other.patient)
    if draw.chance(0.25):
        agent, patient = patient, agent
    return Event(agent, verb, patient, time, e.denied ^ draw.chance(0.2))


def make(draw: Draw) -> Row:
    """A random row."""
    first = make_event(draw)
    second = vary(draw, first)
    return Row(say_event(draw, first), say_event(draw, second), similarity(first, second))
