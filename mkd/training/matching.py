"""Matches the student's hidden states to the teacher's through a learnt linear map.

The loss compares one vector per row and layer: the mean over the row's tokens. Therefore any kind
of student can match a teacher with another tokenizer, and a stored row needs a few hundred numbers
at any length. A linear map of a mean is the mean of the mapped vectors. So this is TinyBERT's loss
(Jiao et al. 2020) on means instead of tokens. It is divided by the variance of the teacher's
states, because one teacher's states can be many times larger than another's.

Axes: B rows of a batch, R rows of a store, K stored layers, D the teacher's width, E the student's,
T tasks, P pairs of layers.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mkd.config import MatchConfig
from mkd.training.losses import LossTerms

SAMPLE_ROWS = 4096
"""Number of rows, evenly spaced over a task's rows, from which the variance of the states is
estimated."""


class MatchedStates(NamedTuple):
    """A teacher's hidden states for the rows of one task's train store.

    - `teacher`: the teacher's key. Tasks with the same teacher share the linear maps.
    - `places`: for each of loss.match.teacher_layers, its index on axis K.
    - `parts`: float16 arrays [R, K, D], memory-mapped; together they hold all rows in order.
    """

    teacher: str
    places: list[int]
    parts: list[np.ndarray]

    def of(self, rows_B: np.ndarray) -> np.ndarray:
        """Returns the states [B, K, D] of the given rows."""
        if len(self.parts) == 1:
            only_BKD: np.ndarray = self.parts[0][rows_B]
            return only_BKD
        states_BKD = np.empty((len(rows_B), *self.parts[0].shape[1:]), dtype=self.parts[0].dtype)
        ends = np.cumsum([len(part) for part in self.parts])
        part_B = np.searchsorted(ends, rows_B, side="right")
        for number in np.unique(part_B):
            part, inside_B = self.parts[number], part_B == number
            states_BKD[inside_B] = part[rows_B[inside_B] - (ends[number] - len(part))]
        return states_BKD

    def variances(self) -> torch.Tensor:
        """Returns the variance over rows, averaged over D, for each pair of layers [P]."""
        num_rows = sum(len(part) for part in self.parts)
        rows = np.linspace(0, num_rows - 1, min(num_rows, SAMPLE_ROWS)).astype(np.int64)
        variance_K = self.of(rows).astype(np.float32).var(axis=0).mean(axis=1)
        return torch.from_numpy(variance_K[self.places]).clamp(min=torch.finfo(torch.float16).tiny)


class Matching(nn.Module):
    """Adds the distance between the student's and the teacher's hidden states to a batch's loss.

    match = mean over the pairs of layers of MSE(h_S W + b, h_T) / Var(h_T), in float32. Each pair
    of layers and each teacher has its own W [E, D]. The total grows by weight * match. The maps are
    trained together with the student and discarded afterwards.

    A match of 1 is that of a student which knows only the mean state of the task's rows; 0 is an
    exact match. Source: Jiao et al. 2020, TinyBERT, equation 8, and equation 9 for layer 0; both
    without b and Var.
    """

    variance_TP: torch.Tensor

    def __init__(
        self, widths: list[int], known: Mapping[str, MatchedStates], config: MatchConfig
    ) -> None:
        """Takes the widths of the student's states, and the teacher's states by task.

        Raises ValueError if a layer in loss.match.student_layers does not exist.
        """
        super().__init__()
        self.weight = config.weight
        self.layers = layer_indices(
            config.student_layers, len(widths), "loss.match.student_layers", "the student"
        )
        self.places = {task: states.places for task, states in known.items()}
        self.tasks = {task: number for number, task in enumerate(known)}
        self.register_buffer(
            "variance_TP", torch.stack([states.variances() for states in known.values()])
        )
        teachers = list(dict.fromkeys(states.teacher for states in known.values()))
        self.teachers = {task: teachers.index(states.teacher) for task, states in known.items()}
        reach = {states.teacher: states.parts[0].shape[2] for states in known.values()}
        self.maps = nn.ModuleList(
            nn.ModuleList(nn.Linear(widths[layer], reach[teacher]) for layer in self.layers)
            for teacher in teachers
        )

    def forward(
        self,
        terms: LossTerms,
        states: list[torch.Tensor],
        teacher_BKD: torch.Tensor | None,
        task: str,
    ) -> LossTerms:
        """Returns the terms with `match` added to the parts and to the total.

        - `states`: all hidden states of the student [B, E], on the student's device.
        """
        assert teacher_BKD is not None, f"rows of {task} have come without the teacher's states"
        maps = self.maps[self.teachers[task]]
        assert isinstance(maps, nn.ModuleList), "maps are listed by teacher"
        target_BKD = teacher_BKD.to(states[0].device).float()
        errors = [
            F.mse_loss(to_teacher(states[layer].float()), target_BKD[:, place])
            for to_teacher, layer, place in zip(maps, self.layers, self.places[task], strict=True)
        ]
        match = (torch.stack(errors) / self.variance_TP[self.tasks[task]]).mean()
        return LossTerms(terms.total + self.weight * match, terms.parts | {"match": match})


def layer_indices(layers: list[int], count: int, setting: str, whose: str) -> list[int]:
    """Returns layer numbers from 0; negative ones count from the last of `count` states.

    State 0 is the embeddings. Raises ValueError for a layer that does not exist.
    """
    if any(not -count <= layer < count for layer in layers):
        raise ValueError(
            f"{setting} is {layers}; allowed: from {-count} to {count - 1}, where 0 is the "
            f"embeddings of {whose}"
        )
    return [layer % count for layer in layers]
