"""Seeded random choices, from which all rows of the suite are generated."""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


class Rng(Random):
    """Random choices that use Random.random only: its sequence is equal in all Python versions."""

    def chance(self, probability: float) -> bool:
        """Returns True with the given probability."""
        return self.random() < probability

    def pick(self, options: Sequence[T]) -> T:
        """Returns one of the options, with equal probability."""
        return options[int(self.random() * len(options))]

    def pick_other(self, options: Sequence[T], *taken: T) -> T:
        """Returns one of the options that are not in `taken`."""
        while (option := self.pick(options)) in taken:
            pass
        return option
