"""Settings of a training: sampling, optimiser and loss."""

from dataclasses import dataclass, field
from typing import Literal

from mkd.config.checks import require, require_at_most


@dataclass(frozen=True)
class SamplingConfig:
    """How the task of each batch is chosen. A batch holds rows of one task."""

    alpha: float = 1.0
    """Exponent of the sampling probability: a task is sampled in proportion to rows**alpha.

    1 is the proportional sampling of Liu et al. 2019, 0 is uniform.
    """
    weights: dict[str, float] = field(default_factory=dict)
    """Sampling weight of each task, used instead of alpha. Weights are divided by their sum.

    Empty: alpha decides. Otherwise every task needs a weight.
    """
    alpha_end: float | None = None
    """Final value of alpha, which changes linearly over training. null: alpha is constant."""
    order: Literal["random", "round_robin", "epoch"] = "random"
    """random: the task of each batch is sampled by alpha or weights. round_robin: tasks take turns.
    epoch: each epoch has all batches of all tasks once, shuffled, as in Liu et al. 2019.

    round_robin and epoch ignore alpha.
    """

    def __post_init__(self) -> None:
        for name in ("alpha", "alpha_end"):
            value = getattr(self, name)
            require(
                value is None or abs(value) <= 10,
                f"sampling.{name}",
                value,
                "from -10 to 10",
            )
        random = self.order == "random"
        require(
            random or not self.weights,
            "sampling.weights",
            self.weights,
            f"empty for sampling.order={self.order}",
        )
        free = random and not self.weights
        require(
            free or self.alpha_end is None,
            "sampling.alpha_end",
            self.alpha_end,
            "null unless alpha decides",
        )
        for task, weight in self.weights.items():
            require(0 <= weight <= 1e9, f"sampling.weights.{task}", weight, "from 0 to 1e9")
        require(
            not self.weights or sum(self.weights.values()) > 0,
            "sampling.weights",
            self.weights,
            "at least one above 0",
        )


@dataclass(frozen=True)
class TrainConfig:
    """The training loop of a teacher's refinement or of a student."""

    steps: int = 2500
    """Number of optimiser steps. Each step uses one batch."""
    batch_size: int = 32
    """Rows in a batch."""
    learning_rate: float | None = None
    """Peak learning rate of AdamW. null: the default for the model, which is lower for pretrained
    layers (mkd/rates.py).
    """
    warmup: float = 0.1
    """Share of the steps, from 0 to 1, in which the learning rate rises linearly from 0.

    Afterwards it decays linearly to 0.
    """
    weight_decay: float = 0.01
    """Decoupled weight decay of AdamW. It applies to matrices only, not to biases and norms."""
    clip: float = 1.0
    """Maximum norm of the gradient. A larger gradient is scaled down to this norm."""
    eval_every: int = 250
    """Number of steps between evaluations on the selection split."""
    patience: int = 0
    """Stops training after this number of evaluations without a better mean score. 0: never stops
    early.

    The best weights are kept in both cases.
    """
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """bfloat16: autocast; matrix products are in bfloat16, weights and losses in float32.
    auto: bfloat16 if it is faster on this machine. This is measured once on each machine
    (mkd/precision.py), and the logged settings show the result.

    A teacher predicts and labels in the precision of its refinement.
    """
    lazy: bool = False
    """Whether large embedding tables use row-sparse gradients and a lazy Adam.

    A step then updates only the embeddings of its batch. Other rows keep their weights and moments.
    The weights of these tables do not decay. Several processes exchange dense gradients.
    """
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def __post_init__(self) -> None:
        require_at_most(
            self,
            "train",
            steps=100_000_000,
            batch_size=1 << 16,
            weight_decay=100.0,
            clip=1e9,
            eval_every=100_000_000,
            patience=100_000_000,
        )
        for name in ("steps", "batch_size", "clip", "eval_every"):
            require(
                0 < getattr(self, name) < float("inf"),
                f"train.{name}",
                getattr(self, name),
                "above 0",
            )
        rate = self.learning_rate
        require(
            rate is None or 0 < rate < float("inf"), "train.learning_rate", rate, "above 0, or null"
        )
        require(0 <= self.warmup <= 1, "train.warmup", self.warmup, "from 0 to 1")
        require(self.weight_decay >= 0, "train.weight_decay", self.weight_decay, "0 or more")
        require(self.patience >= 0, "train.patience", self.patience, "0 or more")


@dataclass(frozen=True)
class MatchConfig:
    """Hidden-state matching between teacher and student (mkd/training/matching.py).

    States are means over the tokens of a row. Layer 0 is the embeddings, 1 the first layer, -1 the
    last layer.
    """

    weight: float = 0.0
    """Weight of the matching loss. 0: no matching.

    The loss is the squared error between the teacher's states and a learned linear map of the
    student's, divided by the variance of the teacher's states.
    """
    teacher_layers: list[int] = field(default_factory=lambda: [0, -1])
    """Layers of the teacher.

    Their states are cached on disk: 2 bytes * hidden size of the teacher, for each row and layer.
    """
    student_layers: list[int] = field(default_factory=lambda: [0, -1])
    """The student's layer for each of `teacher_layers`, in the same order.

    bilstm: 1 is the encoder, 2 the integrating LSTM. bag: the feed-forward layers.
    """

    def __post_init__(self) -> None:
        require_at_most(self, "loss.match", weight=1e9)
        require(0 <= self.weight < float("inf"), "loss.match.weight", self.weight, "0 or more")
        require(
            len(self.teacher_layers) > 0,
            "loss.match.teacher_layers",
            self.teacher_layers,
            "at least one layer",
        )
        require(
            len(self.student_layers) == len(self.teacher_layers),
            "loss.match.student_layers",
            self.student_layers,
            f"one layer for each of loss.match.teacher_layers={self.teacher_layers}",
        )


@dataclass(frozen=True)
class LossConfig:
    """The loss of a row: hard_weight * hard + (1 - hard_weight) * soft.

    A row without a label has the soft loss only, at full weight.
    """

    kind: Literal["mse", "sse", "kl"] = "kl"
    """The soft loss. mse: squared error between logits, mean over rows and classes.
    sse: sum over classes, mean over rows (Liu et al. 2019). kl: T^2 * KL divergence between the
    softened distributions; of a multilabel task the sum over labels. Regression always uses the
    squared error.
    """
    temperature: float = 1.0
    """Temperature T of the kl loss, above 0. Must be 1 for the other kinds."""
    hard_weight: float = 0.5
    """Weight of the labels, from 0 to 1. 0: the teacher only. 1: the labels only.

    With 1, unlabelled rows are not used, and no teacher is trained or loaded unless
    student.init=teacher needs its weights.
    """
    hard_weight_end: float | None = None
    """Final value of hard_weight, which changes linearly over training. null: it is constant.

    From 0 to 1 this is teacher annealing (Clark et al. 2019, BAM).
    """
    task_weights: dict[str, float] = field(default_factory=dict)
    """Factor on the loss of each task, above 0. Empty: 1 for all tasks."""
    balance: Literal["fixed", "uncertainty"] = "fixed"
    """fixed: the factors in task_weights. uncertainty: factors learned during training, from one
    log-variance for each task (Kendall et al. 2018).
    """
    match: MatchConfig = field(default_factory=MatchConfig)

    @property
    def from_labels_alone(self) -> bool:
        """Whether the loss uses labels only, so that no teacher is needed for it."""
        return self.hard_weight == 1 and self.hard_weight_end in (None, 1)

    @property
    def name(self) -> str:
        """Name of the loss, as shown in run names: `kl T=4`, `mse`, `sse` or `hard labels`."""
        return (
            "hard labels"
            if self.from_labels_alone
            else f"kl T={self.temperature:g}"
            if self.kind == "kl"
            else self.kind
        )

    def __post_init__(self) -> None:
        require_at_most(self, "loss", temperature=1000.0)
        require(
            0 < self.temperature < float("inf"), "loss.temperature", self.temperature, "above 0"
        )
        require(
            self.kind == "kl" or self.temperature == 1.0,
            "loss.temperature",
            self.temperature,
            "1 unless loss.kind=kl",
        )
        require(0 <= self.hard_weight <= 1, "loss.hard_weight", self.hard_weight, "from 0 to 1")
        end = self.hard_weight_end
        require(end is None or 0 <= end <= 1, "loss.hard_weight_end", end, "from 0 to 1, or null")
        for task, weight in self.task_weights.items():
            valid = 0 < weight <= 1e9
            require(valid, f"loss.task_weights.{task}", weight, "above 0, and at most 1e9")
        fixed = self.balance == "fixed"
        require(
            fixed or not self.task_weights,
            "loss.task_weights",
            self.task_weights,
            "empty for loss.balance=uncertainty",
        )
        possible = self.match.weight == 0 or not self.from_labels_alone
        require(
            possible,
            "loss.match.weight",
            self.match.weight,
            "0 for loss.hard_weight=1, which needs no teacher",
        )
