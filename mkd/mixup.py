"""Batches whose rows are mixed two by two, for students to learn what the teacher says between the rows that there are.

Axes: B rows of a batch, C classes.
"""

from collections.abc import Iterator

import numpy as np
import torch

from mkd.tokenization.tokens import Mix
from mkd.training.batches import Batch


def mixed_batches(batches: Iterator[Batch], alpha: float, seed: int, start: int = 0) -> Iterator[Batch]:
    """Every batch mixed with itself in another order, by a share from Beta(alpha, alpha) (Zhang et al. 2018, mixup).

    The larger of the two shares is a row's own (Berthelot et al. 2019, MixMatch, equation 9), which changes nothing for
    rows that are paired at random. A batch's share and pairs depend on the seed and its number; start: the first one's.
    """
    for place, batch in enumerate(batches, start):
        generator = np.random.default_rng([seed, 4, place])
        share = float(generator.beta(alpha, alpha))
        yield mixed(batch, max(share, 1 - share), torch.from_numpy(generator.permutation(len(batch.labels_B))))


def mixed(batch: Batch, share: float, partner_B: torch.Tensor) -> Batch:
    """The batch with `share` of each row and the rest of its partner: word embeddings, teacher logits and states alike.

    MixKD (Liang et al. 2021, arXiv 2011.00593, section 3.2) asks the teacher about the mixed input; its stored logits
    are mixed here instead, and so it need not run. The labels stay as they are: the loss weighs both. With a share of 1
    the batch is left as it is.
    """
    if share == 1:
        return batch
    mask_BSL = batch.inputs.mask
    mix = Mix(share, partner_B, mask_BSL)
    inputs = batch.inputs._replace(mask=mask_BSL | mask_BSL[partner_B], mix=mix)
    teacher_BC, states_BKD = (None if told is None else mix.of(told) for told in (batch.teacher_BC, batch.states_BKD))
    return batch._replace(inputs=inputs, teacher_BC=teacher_BC, states_BKD=states_BKD)
