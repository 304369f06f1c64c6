"""Checks that an encoder of any architecture works in every step of a run, before any training.

`transformers` has dozens of architectures, and each has limits of its own: one needs more inputs
than token ids, another does not work in half precision. Therefore each step runs once on a few
random tokens, which costs less than a training step.
"""

from collections.abc import Callable

import numpy as np
import torch

from mkd.evaluation.speed import embedding_token_ids, flops, random_batch
from mkd.runtime.layout import Arrays
from mkd.students.heads import ModelOutput
from mkd.students.transformer import TransformerStudent
from mkd.teachers.classifier import Classifier
from mkd.tokenization.tokens import Inputs, as_inputs

LENGTH = 8
"""Tokens of the longest row."""
PADDING_ERROR = 2e-5
"""Largest relative difference of logits that another order of float32 sums explains."""


def check_steps(model: TransformerStudent, precision: str, states: bool, setting: str) -> None:
    """Runs each step of a run once.

    The steps are training in this precision, answering a text of one token, the count of
    floating-point operations and, with `states`, reading hidden states. The weights and PyTorch's
    random state do not change. `setting` is the setting that names the encoder.

    Raises ValueError with the step that fails.
    """
    steps: dict[str, Callable[[], object]] = {
        f"training in {precision}": lambda: _train(model, precision),
        "a text of one token": lambda: _answer_one_token(model),
        "the count of its products": lambda: flops(model, LENGTH),
    }
    if states:
        steps["reading its hidden states"] = lambda: _states(model)
    before = model.training
    for name, step in steps.items():
        try:
            with torch.random.fork_rng():
                step()
        # Code of an architecture may raise any of these if it is used in an unexpected way.
        except (
            ArithmeticError,
            AssertionError,
            AttributeError,
            LookupError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            kind, reason = (
                model.encoder.config.model_type,
                (" ".join(str(error).split()) or type(error).__name__)[:200],
            )
            raise ValueError(
                f"{setting} names a {kind} model, with which {name} fails ({reason}); allowed: "
                "another architecture"
            ) from error
        finally:
            model.train(before)
            model.zero_grad()


def padding_error(model: TransformerStudent) -> float:
    """Returns the `batch_error` of a row of random tokens in a batch with one twice as long."""
    rows = _rows(model)
    alone = Inputs(rows.ids[1:, :, : LENGTH // 2], rows.mask[1:, :, : LENGTH // 2], None)
    return batch_error(model, rows, alone)


def batch_error(model: TransformerStudent | Classifier, together: Inputs, alone: Inputs) -> float:
    """Returns how much a row's logits change in a batch with a longer row.

    `together` has the longer row first, then the row that `alone` has without padding. The change
    is relative to the largest logit, and 0 if it is within PADDING_ERROR. Some architectures read
    padding: FNet mixes all positions regardless of the mask.
    """
    task, before = next(iter(model.config.tasks)), model.training
    model.train(False)
    with torch.inference_mode():
        together_C, alone_C = model(together, task)[1].float(), model(alone, task)[0].float()
    model.train(before)
    error = float((together_C - alone_C).abs().max() / together_C.abs().max().clamp(min=1e-30))
    return error if error > PADDING_ERROR else 0.0


def padding_note(error: float, name: str) -> str:
    """Returns a note on a teacher or student with this padding error; empty if it is 0."""
    if not error:
        return ""
    return (
        f"{name} reads padding: its logits for a text depend on the longer texts of the same batch "
        f"(by {error:.1g} of their size)"
    )


def _rows(model: TransformerStudent) -> Inputs:
    """Returns two rows of random tokens; the second has half the length and is padded."""
    arrays = random_batch(embedding_token_ids(model), 2, LENGTH, types=False)
    mask = arrays.mask.copy()
    mask[1, :, LENGTH // 2 :] = False
    pad = model.encoder.config.pad_token_id or 0
    inputs = as_inputs(Arrays(np.where(mask, arrays.ids, pad), mask, None))
    return inputs.to(next(model.parameters()).device)


def _train(model: TransformerStudent, precision: str) -> None:
    rows = _rows(model)
    model.train(True)
    with torch.autocast(rows.ids.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        logits = model(rows, next(iter(model.config.tasks)))
    logits.float().square().sum().backward()


def _answer_one_token(model: TransformerStudent) -> None:
    """Answers the shortest text: an encoder that shortens its rows, such as Funnel, may fail."""
    rows = _rows(model)
    model.train(False)
    with torch.inference_mode():
        model(Inputs(rows.ids[:, :, :1], rows.mask[:, :, :1], None), next(iter(model.config.tasks)))


def _states(model: TransformerStudent) -> None:
    model.train(False)
    with torch.inference_mode():
        answer = model(_rows(model), next(iter(model.config.tasks)), states=True)
    assert isinstance(answer, ModelOutput), "states were asked for"
    widths = [state.shape[1] for state in answer.states]
    if widths != model.state_widths:
        raise ValueError(
            f"it has {len(widths)} states of widths {sorted(set(widths))}, its config says "
            f"{len(model.state_widths)}"
        )
