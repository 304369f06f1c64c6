"""Hidden states of a teacher for the student to match: how far its own are from them after a learnt linear map.

What is matched is one vector a row and layer, the mean over the row's tokens. So a student of any kind can match a teacher of
any tokenizer, whose tokens are not the student's, and a stored row costs a few hundred numbers whatever its length. As a
linear map of a mean is the mean of the maps, this is TinyBERT's loss (Jiao et al. 2020) on the means instead of the tokens.
It is told in shares of the states' variance, as one teacher's states can be many times larger than another's.

Axes: B rows of a batch, R rows of a store, K stored layers, D the teacher's width, E the student's; T tasks, P pairs of layers.
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
"""Rows, evenly spread over a task's, that tell the variance of its states."""


class States(NamedTuple):
    """A teacher's hidden states for the rows of one task's train store.

    teacher: its key; tasks of one teacher share the maps. places: on axis K, of each of loss.match.teacher_layers.
    parts: float16 [R, K, D] of the rows, one after another, memory-mapped.
    """

    teacher: str
    places: list[int]
    parts: list[np.ndarray]

    def of(self, rows_B: np.ndarray) -> np.ndarray:
        """The states [B, K, D] of these rows."""
        if len(self.parts) == 1:
            only_BKD: np.ndarray = self.parts[0][rows_B]
            return only_BKD
        found_BKD = np.empty((len(rows_B), *self.parts[0].shape[1:]), dtype=self.parts[0].dtype)
        ends = np.cumsum([len(part) for part in self.parts])
        part_B = np.searchsorted(ends, rows_B, side="right")
        for number in np.unique(part_B):
            part, inside_B = self.parts[number], part_B == number
            found_BKD[inside_B] = part[rows_B[inside_B] - (ends[number] - len(part))]
        return found_BKD

    def variances(self) -> torch.Tensor:
        """The variance over rows, in the mean over D, of each of the layers that `places` are of [P]."""
        num_rows = sum(len(part) for part in self.parts)
        rows = np.linspace(0, num_rows - 1, min(num_rows, SAMPLE_ROWS)).astype(np.int64)
        variance_K = self.of(rows).astype(np.float32).var(axis=0).mean(axis=1)
        return torch.from_numpy(variance_K[self.places]).clamp(min=torch.finfo(torch.float16).tiny)


class Matching(nn.Module):
    """Adds to a batch's loss what its hidden states are worth; the maps are learnt beside the student and then thrown away.

    match = mean over the pairs of layers of MSE(h_S W + b, h_T) / Var(h_T), in float32, with a W [E, D] of its own for each pair
    and teacher (Jiao et al. 2020, TinyBERT, equation 8; of layer 0 equation 9; there without b and Var). So 1 is a student
    that knows no more than the mean state of the task's rows, 0 one that knows each. total grows by weight * match.
    """

    variance_TP: torch.Tensor

    def __init__(self, widths: list[int], known: Mapping[str, States], config: MatchConfig) -> None:
        """widths: of the student's states. known: by task. Raises ValueError for a layer that the student does not have."""
        super().__init__()
        self.weight = config.weight
        self.layers = places_of(config.student_layers, len(widths), "loss.match.student_layers", "the student")
        self.places = {task: states.places for task, states in known.items()}
        self.tasks = {task: number for number, task in enumerate(known)}
        self.register_buffer("variance_TP", torch.stack([states.variances() for states in known.values()]))
        teachers = list(dict.fromkeys(states.teacher for states in known.values()))
        self.teachers = {task: teachers.index(states.teacher) for task, states in known.items()}
        reach = {states.teacher: states.parts[0].shape[2] for states in known.values()}
        self.maps = nn.ModuleList(
            nn.ModuleList(nn.Linear(widths[layer], reach[teacher]) for layer in self.layers) for teacher in teachers
        )

    def forward(self, terms: LossTerms, states: list[torch.Tensor], teacher_BKD: torch.Tensor | None, task: str) -> LossTerms:
        """The terms with `match`, and it in their total. states: all of the student's [B, E], on its device."""
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


def places_of(layers: list[int], count: int, setting: str, whose: str) -> list[int]:
    """Layers counted from 0; -1 is the last of `count` states, those of the embeddings among them.

    Raises ValueError for one that is not there.
    """
    if any(not -count <= layer < count for layer in layers):
        raise ValueError(f"{setting} is {layers}; allowed: from {-count} to {count - 1}, where 0 is the embeddings of {whose}")
    return [layer % count for layer in layers]
