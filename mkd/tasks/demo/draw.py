"""A seeded stream of choices, from which all of the suite's rows are made."""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


class Draw(Random):
    """Built on Random.random, whose sequence is the same in every Python version."""

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.random() < probability

    def pick(self, options: Sequence[T]) -> T:
        """One of the options, uniformly."""
        return options[int(self.random() * len(options))]

    def pick_other(self, options: Sequence[T], *taken: T) -> T:
        """One of the options that is not taken."""
        while (option := self.pick(options)) in taken:
            pass
        return option
