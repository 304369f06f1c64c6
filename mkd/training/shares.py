"""Splits each batch between the processes of a distributed training, and weights their losses."""

import os
from typing import NamedTuple

import torch

from mkd import processes
from mkd.tokenization.tokens import Inputs
from mkd.training.batches import Batch
from mkd.training.losses import LABELLED, has_label


class BatchShare(NamedTuple):
    """This process's share of a batch, from 0 to 1: of all its rows, and of its labelled rows."""

    of_rows: float = 1.0
    of_labelled: float = 1.0

    def factor(self) -> float:
        """Returns the factor on this process's loss.

        Distributed training averages gradients over processes. With this factor the average is the
        gradient of the whole batch, even if the processes have different numbers of rows.
        """
        return self.of_rows * processes.count()

    def of(self, term: str) -> float:
        """Returns the factor on a reported term; summed over processes it is the whole batch's
        term."""
        return self.of_labelled if term in LABELLED else self.of_rows


def split_batch(batch: Batch) -> tuple[Batch, BatchShare]:
    """Returns this process's rows of the batch, and their share of it.

    If there are fewer rows than processes, some processes get a row with a weight of 0.
    """
    if processes.count() == 1:
        return batch, BatchShare()
    rows = torch.arange(len(batch.labels_B))[int(os.environ["RANK"]) :: processes.count()]
    # Every process needs a backward pass, as the others wait for its gradients.
    taken = rows if len(rows) else torch.zeros(1, dtype=torch.long)
    types = None if batch.inputs.types is None else batch.inputs.types[taken]
    inputs = Inputs(batch.inputs.ids[taken], batch.inputs.mask[taken], types)
    teacher_BC = None if batch.teacher_BC is None else batch.teacher_BC[taken]
    states_BKD = None if batch.states_BKD is None else batch.states_BKD[taken]
    taught_B = None if batch.taught_B is None else batch.taught_B[taken]
    known_B = has_label(batch.labels_B)
    of_labelled = float(known_B[rows].sum() / known_B.sum().clamp(min=1))
    process_batch = Batch(
        batch.task, inputs, batch.labels_B[taken], teacher_BC, states_BKD, taught_B
    )
    return process_batch, BatchShare(len(rows) / len(batch.labels_B), of_labelled)
