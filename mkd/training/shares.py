"""What each of several processes learns from a batch: its share of the rows, and what that counts for."""

import os
from typing import NamedTuple

import torch

from mkd import processes
from mkd.tokenization.tokens import Inputs
from mkd.training.batches import Batch
from mkd.training.losses import LABELLED


class Share(NamedTuple):
    """How much of a batch is this process's own: of its rows, and of those that have a label, from 0 to 1."""

    of_rows: float = 1.0
    of_labelled: float = 1.0

    def factor(self) -> float:
        """On this process's loss; with it the mean of the gradients over all processes is the gradient of the whole batch."""
        return self.of_rows * processes.count()

    def of(self, term: str) -> float:
        """On a term of the loss; with it the sum over all processes is the term of the whole batch."""
        return self.of_labelled if term in LABELLED else self.of_rows


def share(batch: Batch) -> tuple[Batch, Share]:
    """This process's rows of the batch; where there are too few, one that counts nothing."""
    if processes.count() == 1:
        return batch, Share()
    rows = torch.arange(len(batch.labels_B))[int(os.environ["RANK"]) :: processes.count()]
    taken = rows if len(rows) else torch.zeros(1, dtype=torch.long)
    types = None if batch.inputs.types is None else batch.inputs.types[taken]
    inputs = Inputs(batch.inputs.ids[taken], batch.inputs.mask[taken], types)
    teacher_BC = None if batch.teacher_BC is None else batch.teacher_BC[taken]
    states_BKD = None if batch.states_BKD is None else batch.states_BKD[taken]
    known_B = ~batch.labels_B.isnan()
    of_labelled = float(known_B[rows].sum() / known_B.sum().clamp(min=1))
    own = Batch(batch.task, inputs, batch.labels_B[taken], teacher_BC, states_BKD)
    return own, Share(len(rows) / len(batch.labels_B), of_labelled)
