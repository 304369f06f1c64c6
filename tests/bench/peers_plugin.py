"""The project's training loop as a plug-in of a harness that compares toolkits' training loops.

    PYTHONPATH=. python HARNESS --steps 20 --rounds 3 --student 3x384 \\
        --plugin tests/bench/peers_plugin.py

The harness provides rows, teacher, student, loss and clock, and pads each batch to its longest row.
The loop adds stored logits of the teacher, batches of rows with similar lengths, a last layer of
BERT that computes only the token that is used, a lazy Adam for the embeddings and a fused AdamW for
the rest, and clipping without reading the loss. The time of the teacher's one pass is reported
separately (`cache_seconds`), as for other loops that store logits.
"""

import time
from functools import partial
from typing import Any

import numpy as np
import torch

from mkd.config import TrainConfig
from mkd.students.transformer import attention_kernel, shorten
from mkd.training.batches import epoch_batches
from mkd.training.optim import clip_gradients, make_optimizers


def loop(precision: str, work: Any) -> dict[str, float]:
    """Trains the harness's student on all of its rows.

    - `work`: the rows, models, loss and clock of one run
    """
    start = time.perf_counter()
    logits = work.teacher_logits(work.rows)
    seconds = time.perf_counter() - start
    student = work.student().train()
    if hasattr(student, "bert"):
        shorten(student.bert)
    optimizers = make_optimizers(
        student, TrainConfig(learning_rate=work.lr, weight_decay=0.0, lazy=True)
    )
    losses = []
    for rows in _batches(work):
        batch = work.collate([work.rows[row] for row in rows])
        for optimizer in optimizers:
            optimizer.zero_grad()
        with (
            torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"),
            attention_kernel("cpu"),
        ):
            out = student(**batch)
        loss = work.loss(out.logits.float(), logits[rows], out.loss)
        loss.backward()
        clip_gradients(student.parameters(), work.max_grad_norm)
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.detach())
    work.losses += torch.stack(losses).tolist()
    return {"cache_seconds": round(seconds, 3)}


def _batches(work: Any) -> list[np.ndarray]:
    """Returns batches of rows with similar lengths. Those of median length come where the clock
    does not run, so as to favour no loop."""
    lengths = np.array([len(row["input_ids"]) for row in work.rows])
    batches = list(
        epoch_batches(
            np.arange(len(lengths)), lengths.__getitem__, work.batch_size, np.random.default_rng(0)
        )
    )
    by_length = sorted(range(len(batches)), key=lambda index: int(lengths[batches[index]].max()))
    first = (len(batches) - work.warmup - 1) // 2
    *warm, last = by_length[first : first + work.warmup + 1]
    timed = [index for index in range(len(batches)) if index not in (*warm, last)]
    return [batches[index] for index in (*warm, *timed, last)]


PEERS = {
    "mkd": (partial(loop, "float32"), "dyn", True),
    "mkd_bfloat16": (partial(loop, "bfloat16"), "dyn", True),
}
