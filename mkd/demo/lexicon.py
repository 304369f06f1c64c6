"""The suite's words: what they mean (synonyms, hypernyms, how well they speak of a thing) and how they inflect, all regularly.

A concept is named by its first word: `doctor/physician` is the concept "doctor" with two words for it.
"""

from mkd.demo.draw import Draw

_GROUPS = {
    "worker": "doctor/physician teacher/tutor farmer pilot nurse",
    "artist": "painter singer actor/player writer/author poet",
}
_DEEDS = {
    "move": "walk/stroll crawl jump/leap climb",
    "talk": "whisper mumble shout/yell lecture",
}
_ACTS = "chase/pursue greet/welcome help/assist praise/commend thank blame visit invite"
SYNONYM_SHARE = 0.1
"""How often a concept that has another word goes by it."""


def _concepts(text: str) -> dict[str, tuple[str, ...]]:
    return {item.split("/")[0]: tuple(item.split("/")) for item in text.split()}


def _third(verb: str) -> str:
    return verb + ("es" if verb.endswith(("sh", "ch")) else "s")


def _past(verb: str) -> str:
    return verb + ("d" if verb.endswith("e") else "ed")


_SYNONYMS = _concepts(" ".join((*_GROUPS, *_GROUPS.values(), *_DEEDS, *_DEEDS.values(), _ACTS)))
_WORDS = [word for words in _SYNONYMS.values() for word in words]

NOUNS = tuple(_concepts(" ".join(_GROUPS.values())))
DEEDS = tuple(_concepts(" ".join(_DEEDS.values())))
ACTS = tuple(_concepts(_ACTS))
WOMEN = ("anna", "clara", "emma", "greta", "ines", "olga")
MEN = ("boris", "david", "felix", "henry", "leo", "nils")
NAMES = WOMEN + MEN
"""Not listed among the synonyms: a name is its own only word, as a city and a thing are."""
CITIES = tuple(
    _concepts(
        "paris rome berlin oslo madrid vienna london lisbon athens dublin prague warsaw turin malmo ghent basel "
        "porto graz bergen lyon"
    )
)
THINGS = tuple(_concepts("film play book song meal hotel soup garden museum concert speech wine"))
TRAITS = ("young", "old", "tired", "tall")
QUALITIES = {
    **dict.fromkeys(("superb", "brilliant", "splendid"), 2),
    **dict.fromkeys(("good", "nice", "pleasant"), 1),
    **dict.fromkeys(("bad", "weak", "dull"), -1),
    **dict.fromkeys(("awful", "terrible", "dreadful"), -2),
}
"""What is said of a thing -> how well that speaks of it."""
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
PARENT = {child: parent for parent, children in (_GROUPS | _DEEDS).items() for child in _concepts(children)}
"""Concept -> the wider one above it."""
CHILDREN = {parent: tuple(child for child in PARENT if PARENT[child] == parent) for parent in (*_GROUPS, *_DEEDS)}
PLURAL = {word: word + "s" for word in _WORDS}
THIRD = {word: _third(word) for word in _WORDS}
PAST = {word: _past(word) for word in _WORDS}
ENTITY = {name: name for name in (*NAMES, *CITIES, *THINGS)} | {
    form: concept for concept in (*NOUNS, *_GROUPS) for word in _SYNONYMS[concept] for form in (word, PLURAL[word])
}
"""Every word for who, what or where -> its concept."""


def word(draw: Draw, concept: str) -> str:
    """One of the concept's words, mostly the first."""
    first, *others = _SYNONYMS[concept]
    return draw.pick(others) if others and draw.chance(SYNONYM_SHARE) else first
