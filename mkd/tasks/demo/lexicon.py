"""The suite's words: few enough that each is seen often in training, many enough that hardly two rows are alike."""

NAMES = ("anna", "boris", "clara", "david", "emma", "felix")
CITIES = (
    "oslo", "rome", "lima", "cairo", "delhi", "paris", "tokyo", "quito", "dublin", "madrid", "sydney", "boston", "vienna",
    "lagos", "seoul", "havana",
)  # fmt: skip
WHENS = ("today", "yesterday", "lately", "again", "tonight", "overall")
THINGS = ("film", "play", "book", "song", "meal", "hotel")
QUALITIES = {
    **dict.fromkeys(("superb", "brilliant"), 2),
    **dict.fromkeys(("good", "nice"), 1),
    **dict.fromkeys(("bad", "weak"), -1),
    **dict.fromkeys(("awful", "terrible"), -2),
}
"""What is said of a thing -> how well that speaks of it."""
DEGREES = ("very", "quite", "really")
DENIALS = ("not", "hardly", "never")

_NOUNS = {"worker": "doctor teacher farmer painter", "animal": "dog cat horse bird"}
_DEEDS = {"move": "walk crawl jump climb", "talk": "whisper mumble shout chat"}
NOUNS = tuple(" ".join(_NOUNS.values()).split())
DEEDS = tuple(" ".join(_DEEDS.values()).split())
PARENT = {child: parent for parent, children in (_NOUNS | _DEEDS).items() for child in children.split()}
"""Concept -> the wider one above it."""
CHILDREN = {parent: tuple(children.split()) for parent, children in (_NOUNS | _DEEDS).items()}
TRAITS = ("black", "hungry", "young", "old", "small", "tall", "quiet", "clever")
ACTS = ("chase", "greet", "help", "praise", "visit", "watch")
RACES = ("ran", "swam", "drove", "sang", "danced", "waited")
OPPOSITE = {"faster": "slower", "longer": "shorter", "later": "sooner"}
SCALES = tuple(OPPOSITE)
"""One comparative of each pair of opposites."""


def plural(noun: str) -> str:
    """Of any noun here."""
    return noun + "s"


def third(verb: str) -> str:
    """Of any verb here: its form after he, she or it."""
    return verb + ("es" if verb.endswith(("sh", "ch")) else "s")


def past(verb: str) -> str:
    """Of any verb here, as its participle."""
    doubled = verb + verb[-1] if verb == "chat" else verb
    return doubled + ("d" if doubled.endswith("e") else "ed")
