"""The words of the suite.

There are few enough that each occurs often in training, and enough that rows are rarely equal.
"""

NAMES = ("anna", "boris", "clara", "david", "emma", "felix")
CITIES = (
    "oslo", "rome", "lima", "cairo", "delhi", "paris", "tokyo", "quito",
    "dublin", "madrid", "sydney", "boston", "vienna", "lagos", "seoul", "havana",
)  # fmt: skip
WHENS = ("today", "yesterday", "lately", "again", "tonight", "overall")
THINGS = ("film", "play", "book", "song", "meal", "hotel")
QUALITIES = {
    **dict.fromkeys(("superb", "brilliant"), 2),
    **dict.fromkeys(("good", "nice"), 1),
    **dict.fromkeys(("bad", "weak"), -1),
    **dict.fromkeys(("awful", "terrible"), -2),
}
"""Quality of a thing -> its valence, from -2 (awful) to 2 (superb)."""
DEGREES = ("very", "quite", "really")
DENIALS = ("not", "hardly", "never")

_NOUNS = {"worker": "doctor teacher farmer painter", "animal": "dog cat horse bird"}
_DEEDS = {"move": "walk crawl jump climb", "talk": "whisper mumble shout chat"}
NOUNS = tuple(" ".join(_NOUNS.values()).split())
DEEDS = tuple(" ".join(_DEEDS.values()).split())
PARENT = {
    child: parent for parent, children in (_NOUNS | _DEEDS).items() for child in children.split()
}
"""Concept -> the wider concept that contains it."""
CHILDREN = {parent: tuple(children.split()) for parent, children in (_NOUNS | _DEEDS).items()}
TRAITS = ("black", "hungry", "young", "old", "small", "tall", "quiet", "clever")
ACTS = ("chase", "greet", "help", "praise", "visit", "watch")
RACES = ("ran", "swam", "drove", "sang", "danced", "waited")
OPPOSITE = {"faster": "slower", "longer": "shorter", "later": "sooner"}
SCALES = tuple(OPPOSITE)
"""One comparative of each pair of opposites; names the scale."""


def plural_noun(noun: str) -> str:
    """Returns the plural of a noun of this lexicon."""
    return noun + "s"


def third(verb: str) -> str:
    """Returns the third person singular of a verb of this lexicon."""
    return verb + ("es" if verb.endswith(("sh", "ch")) else "s")


def past(verb: str) -> str:
    """Returns the past tense of a verb of this lexicon, which equals its participle."""
    doubled = verb + verb[-1] if verb == "chat" else verb
    return doubled + ("d" if doubled.endswith("e") else "ed")
