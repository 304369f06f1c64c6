"""All colours and markers of the pictures and of the report's page.

A student kind gets its look in STUDENT_LOOKS, and nowhere else.
"""

from typing import NamedTuple


class Shade(NamedTuple):
    """A colour on a light ground, as in all pictures, and on the page's dark ground."""

    light: str
    dark: str


class Look(NamedTuple):
    """How a kind of model is drawn.

    colour, dark: on a light and on a dark ground.
    marker: matplotlib's code. The page draws the same outline.
    """

    colour: str
    dark: str
    marker: str


STUDENT_LOOKS = {
    "transformer": Look("#0072b2", "#56b4e9", "o"),
    "bilstm": Look("#d55e00", "#e8702a", "s"),
    "bag": Look("#009e73", "#1fb88b", "^"),
}
"""Looks by student kind, in the order of the legends. The colours are those of Okabe and Ito,
which colour-blind readers can tell apart.
"""
OTHER = "other"
"""Stands for all kinds without a look of their own."""
TEACHER_LOOK = Look("#1a1c20", "#f2f3f5", "*")
TWIN_LOOK = Look("#b07800", "#e69f00", "d")
"""Look of the hard-label twin: the same student, trained on the labels alone."""
KINDS = STUDENT_LOOKS | {OTHER: Look("#cc79a7", "#dd94bb", "D")}
LOOKS = KINDS | {"teacher": TEACHER_LOOK, "baseline": TWIN_LOOK}
"""All looks, by the name that the page has for them."""

INTERFACE = {
    "ground": Shade("#ffffff", "#14161a"),
    "text": Shade("#1a1c20", "#e8eaed"),
    "muted": Shade("#5b616b", "#a3a9b3"),
    "line": Shade("#dfe2e7", "#343942"),
    "faint": Shade("#f3f4f6", "#1e2127"),
    "focus": Shade("#0b57d0", "#8ab4f8"),
}
"""Colours of the page by the name of their CSS variable."""
INK, FAINT, GRID = (INTERFACE[name].light for name in ("text", "muted", "line"))
"""Colours of text, of small print and of grids in pictures."""
GREY = "#999999"
"""Colour of axes, of the line of a front, and of marks that are not compared."""
ACCENT = STUDENT_LOOKS["transformer"].colour
"""Colour of a picture's only series."""
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b07800", "#56b4e9", "#1a1c20", "#999999")
"""Colours of lines that are no models, such as tasks."""
OBJECTIVES = {"quality": "#56b4e9", "latency": "#e69f00"}
"""Colours of a search's objectives, which differ from those of the student kinds."""


def look(kind: str) -> Look:
    """Returns the look of a student kind, of `teacher` or of `baseline`; else that of `other`."""
    return LOOKS.get(kind, LOOKS[OTHER])


def stylesheet() -> str:
    """Returns the colours as CSS: variables for both grounds, and a class for each look."""
    shades = INTERFACE | {name: Shade(each.colour, each.dark) for name, each in LOOKS.items()}
    light, dark = (
        " ".join(f"--{name}: {getattr(shade, ground)};" for name, shade in shades.items())
        for ground in Shade._fields
    )
    classes = "\n".join(f".{name} {{ --colour: var(--{name}); }}" for name in LOOKS)
    return (
        f":root {{ {light} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n{classes}\n"
    )
