"""Which share of the texts a student answers. It needs no PyTorch, as the report uses it too."""

from collections.abc import Sequence


def chosen_place(selection_lost: Sequence[float], budget: float) -> int:
    """Returns the last place, by rising share, before one that loses more than `budget`.

    A larger share may lose less on the selection split again, mostly by luck
    (docs/results/options.md, "Which share to choose"). The first share is 0, where the teacher
    alone loses nothing.
    """
    over = (place for place, lost in enumerate(selection_lost) if lost > budget)
    return next(over, len(selection_lost)) - 1
