"""Settings of the core and their defaults, as frozen dataclasses.

Each default is written here and nowhere else. Settings that contradict each other are rejected with
a ValueError when the dataclass is built. experiments/settings.py defines the settings of registries
and searches, and lists the settings of each command.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

Device = Literal["auto", "cpu", "cuda"]
"""`auto` selects the GPU if there is one, else the CPU."""


def require(condition: bool, setting: str, value: object, allowed: str) -> None:
    """Raises ValueError if condition is false; it names setting, value and allowed values."""
    if not condition:
        raise ValueError(f"{setting} is {value!r}; allowed: {allowed}")


def require_at_most(settings: object, group: str, **most: float) -> None:
    """Raises ValueError if one of the named settings of a group is larger than its bound.

    The bounds are far above any use. They refuse slips, such as a digit too many, which would
    otherwise fill the memory or run for years.
    """
    for name, bound in most.items():
        value = getattr(settings, name)
        large = value is not None and value > bound
        require(not large, f"{group}.{name}".lstrip("."), value, f"at most {bound:,}")


def require_path(setting: str, value: str) -> None:
    """Raises ValueError if no file or folder can have this path."""
    possible = "\0" not in value and len(value.encode(errors="replace")) < 4096
    require(possible, setting, value[:80], "a path of at most 4,095 bytes, without a zero byte")


MOST_THREADS = 512
"""Largest number of threads. With many more, the libraries of threads end the process."""
MOST_ROWS = 100_000_000


@dataclass(frozen=True)
class DemoConfig:
    """The generated task suite that is part of the project (mkd/tasks/demo)."""

    seed: int = 0
    """Seed of the generator. Another seed generates other rows of the same tasks."""
    train_rows: int = 6000
    """Number of labelled training rows of each task."""
    unlabelled_rows: int = 2000
    """Number of additional training rows without a label, for each task."""
    dev_rows: int = 1000
    """Number of dev rows of each task. Their labels have no noise."""
    label_noise: float = 0.05
    """Share of training labels, from 0 to 1, that are replaced by a wrong class.

    For regression, normal noise is added to the score instead.
    """

    def __post_init__(self) -> None:
        require_at_most(
            self, "data.demo", train_rows=MOST_ROWS, unlabelled_rows=MOST_ROWS, dev_rows=MOST_ROWS
        )
        require(0 <= self.seed < 2**32, "data.demo.seed", self.seed, "from 0 to 2**32 - 1")
        require(self.train_rows > 0, "data.demo.train_rows", self.train_rows, "above 0")
        require(
            self.unlabelled_rows >= 0,
            "data.demo.unlabelled_rows",
            self.unlabelled_rows,
            "0 or more",
        )
        require(self.dev_rows > 0, "data.demo.dev_rows", self.dev_rows, "above 0")
        require(
            0 <= self.label_noise < 1,
            "data.demo.label_noise",
            self.label_noise,
            "from 0 to below 1",
        )


@dataclass(frozen=True)
class TextFileConfig:
    """A file of text without labels."""

    file: str
    """Path of the file. The ending gives the format: .csv, .tsv, .jsonl or .parquet."""
    text: list[str]
    """The text column, or two columns for pairs.

    A column is a name, or an index from 0 if the file has no header.
    """
    header: bool = True
    """Whether the first line of a CSV or TSV file is a header. Must be true for other formats."""

    SETTING: ClassVar[str] = "pretrain.corpus"
    """Name of the setting, for error messages."""

    def __post_init__(self) -> None:
        require_path(f"{self.SETTING}.file", self.file)
        require(
            len(self.text) in (1, 2),
            f"{self.SETTING}.text",
            self.text,
            "one column, or two for pairs",
        )


@dataclass(frozen=True)
class TransferConfig(TextFileConfig):
    """A file of unlabelled text that is added to the training rows of tasks.

    The teacher labels the text.
    """

    tasks: list[str] = field(default_factory=list)
    """Tasks that get the text. Each must have as many texts a row as `text` has columns.

    Empty: all tasks with that many texts.
    """

    SETTING: ClassVar[str] = "data.transfer"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            len(set(self.tasks)) == len(self.tasks),
            "data.transfer.tasks",
            self.tasks,
            "each task once",
        )


@dataclass(frozen=True)
class AugmentConfig:
    """Data augmentation (Tang et al. 2019, arXiv 1903.12136).

    Makes modified copies of the labelled training rows, which the teacher labels. Words are masked
    or replaced first; then some texts are cut to an n-gram. The copies of a pair change the first
    text, the second text, or both, in turn.
    """

    multiple: int = 0
    """Number of copies of each labelled training row. 0: no augmentation.

    Copies that equal a row or another copy are dropped.
    """
    mask: float = 0.1
    """Probability that a word is replaced by the tokenizer's mask token.

    A tokenizer without a mask token uses its unknown token.
    """
    replace: float = 0.1
    """Probability that a word is replaced by one of its nearest neighbours.

    Neighbours replace the words of equal part of speech that the paper uses.
    """
    ngram: float = 0.25
    """Probability that a text is cut to a random n-gram of its words, n from 1 to `longest`."""
    longest: int = 5
    """Largest n of the n-grams, in words."""
    neighbours: int = 10
    """Number of nearest words, by cosine similarity, that can replace a word."""
    embeddings: str = ""
    """Folder or hub name of an encoder whose embeddings define the neighbours.

    The teacher's checkpoint is a common choice. Empty: the neighbours are words of the task that
    occur between the same words.
    """

    def __post_init__(self) -> None:
        require_at_most(self, "data.augment", multiple=1000, longest=1000, neighbours=1000)
        require_path("data.augment.embeddings", self.embeddings)
        require(self.multiple >= 0, "data.augment.multiple", self.multiple, "0 or more")
        for name in ("mask", "replace", "ngram"):
            require(
                0 <= getattr(self, name) <= 1,
                f"data.augment.{name}",
                getattr(self, name),
                "from 0 to 1",
            )
        require(
            self.mask + self.replace <= 1,
            "data.augment.replace",
            self.replace,
            f"at most 1 less data.augment.mask={self.mask}",
        )
        some = self.mask + self.replace + self.ngram > 0
        require(
            some or self.multiple == 0,
            "data.augment.multiple",
            self.multiple,
            "0 unless mask, replace or ngram is above 0",
        )
        for name in ("longest", "neighbours"):
            require(getattr(self, name) > 0, f"data.augment.{name}", getattr(self, name), "above 0")
        require(
            self.replace > 0 or not self.embeddings,
            "data.augment.embeddings",
            self.embeddings,
            "empty for data.augment.replace=0",
        )


Source = Literal["auto", "demo", "glue", "hub", "files"]


@dataclass(frozen=True)
class DataConfig:
    """The tasks, and the source of their rows."""

    source: Source = "auto"
    """auto: follows from `path`. demo: the generated suite. glue: a folder in the official GLUE TSV
    layout. hub: a dataset of the Hugging Face hub, or saved by the `datasets` library. files: a
    file of rows, or a YAML file that describes tasks (mkd/tasks/task_file.py).
    """
    path: str = ""
    """files: a CSV, TSV, JSONL or Parquet file, a folder that has one called train, or the YAML
    file. hub: the name of the dataset, or a folder written by save_to_disk. glue: the folder.
    Empty: the demo.
    """
    text: list[str] | str = ""
    """The text column, or two for pairs. Empty: inferred. For a file of rows or a dataset only, as
    are `label`, `kind` and `dev`.
    """
    label: str = ""
    """The label column. Empty: inferred."""
    kind: Literal["", "classification", "multilabel", "regression"] = ""
    """Kind of the task. Empty: inferred from the labels."""
    dev: float | str = ""
    """A file of dev rows, or the name of a split of the dataset; or a share of the train rows,
    between 0 and 1, that is held out. Empty: a file beside train's, or a split, that is called
    validation, dev or test and has labels; else a tenth of the train rows.
    """
    tasks: list[str] = field(default_factory=list)
    """Names of the tasks to use. Empty: all tasks of the source."""
    transfer: list[TransferConfig] = field(default_factory=list)
    """Files of unlabelled text that are added to the training rows."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    max_length: int = 128
    """Maximum length of an input in tokens with special tokens. Longer texts are truncated."""
    selection_fraction: float = 0.1
    """Share of the labelled training rows, between 0 and 1, that is held out at most.

    The held-out rows are the selection split. It chooses the best step of a training. The run's
    seed decides which rows are held out. Rows with overlapping text are held out together.
    """
    selection_rows: int = 1000
    """Maximum number of rows in the selection split of a task.

    The rows come from as many groups of overlapping rows as `selection_fraction` allows.
    """
    demo: DemoConfig = field(default_factory=DemoConfig)

    def __post_init__(self) -> None:
        require_at_most(self, "data", max_length=1 << 15, selection_rows=MOST_ROWS)
        require_path("data.path", self.path)
        require(
            self.source in ("auto", "demo") or self.path != "",
            "data.path",
            self.path,
            f"a path or name, for data.source={self.source}",
        )
        require(
            self.source != "demo" or self.path == "",
            "data.path",
            self.path,
            "empty for data.source=demo",
        )
        texts = [self.text] if isinstance(self.text, str) else self.text
        require(1 <= len(texts) <= 2, "data.text", self.text, "one column, or two for pairs")
        require(
            isinstance(self.dev, str) or 0 < self.dev < 1,
            "data.dev",
            self.dev,
            "a file, a split, or a share between 0 and 1",
        )
        require(len(set(self.tasks)) == len(self.tasks), "data.tasks", self.tasks, "each task once")
        require(self.max_length >= 8, "data.max_length", self.max_length, "8 or more")
        require(
            0 < self.selection_fraction < 1,
            "data.selection_fraction",
            self.selection_fraction,
            "between 0 and 1",
        )
        require(self.selection_rows > 0, "data.selection_rows", self.selection_rows, "above 0")


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
    The weights of these tables do not decay.
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


REFINED = "refined"
"""Name of the refined teacher in teacher.sources."""


@dataclass(frozen=True)
class TeacherConfig:
    """The teacher: an encoder with a head for each task, fine-tuned on all tasks (refinement)."""

    checkpoint: str = ""
    """Folder or hub name of a Hugging Face encoder.

    Empty: the teacher is trained from scratch, with teacher.layers, hidden and heads.
    """
    pooling: Literal["mean", "first"] = "mean"
    """Input of a head: the mean over tokens, or the first token."""
    layers: int = 2
    """Number of layers of a teacher from scratch."""
    hidden: int = 128
    """Hidden size of a teacher from scratch."""
    heads: int = 4
    """Number of attention heads of a teacher from scratch. Must divide `hidden`."""
    vocabulary: int = 1000
    """Vocabulary size of a teacher from scratch.

    The WordPiece vocabulary is trained on the training text of the tasks.
    """
    dropout: float = 0.05
    """Dropout probability in the heads, and in the layers of a teacher from scratch."""
    sources: dict[str, list[str]] = field(default_factory=dict)
    """Teachers of single tasks, by task name. Tasks that are not listed use the refined teacher.

    A source is the folder or hub name of a sequence classifier fine-tuned for the task, a file of
    answers (.jsonl or .parquet, mkd/teachers/imported.py), or `refined`. Several sources of a task
    are averaged; a file may answer some rows only.
    """
    mean: Literal["logits", "probabilities"] = "logits"
    """What is averaged over several sources of a task. For regression, scores are averaged."""
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=3000, eval_every=500, sampling=SamplingConfig(alpha=0.5)
        )
    )

    def __post_init__(self) -> None:
        require_at_most(
            self, "teacher", layers=128, hidden=1 << 14, heads=1 << 10, vocabulary=1_000_000
        )
        require_path("teacher.checkpoint", self.checkpoint)
        for name in ("layers", "hidden", "heads"):
            require(getattr(self, name) > 0, f"teacher.{name}", getattr(self, name), "above 0")
        require(
            self.hidden % self.heads == 0,
            "teacher.hidden",
            self.hidden,
            f"a multiple of teacher.heads={self.heads}",
        )
        require(self.vocabulary >= 100, "teacher.vocabulary", self.vocabulary, "100 or more")
        for task, names in self.sources.items():
            valid = 0 < len(set(names)) == len(names) and "" not in names
            require(valid, f"teacher.sources.{task}", names, "one source or more, each once")
            for name in names:
                require_path(f"teacher.sources.{task}", name)
        several = any(len(names) > 1 for names in self.sources.values())
        require(
            self.mean == "logits" or several,
            "teacher.mean",
            self.mean,
            "logits, where no task has several teacher.sources",
        )
        require(0 <= self.dropout < 1, "teacher.dropout", self.dropout, "from 0 to below 1")


@dataclass(frozen=True)
class StudentConfig:
    """The student: a small model with shared layers and a head for each task."""

    kind: Literal["bilstm", "transformer", "bag"] = "transformer"
    """bilstm: the biattentive LSTM of Liu et al. 2019, or a plain BiLSTM (see `attention`).
    transformer: an encoder of any depth and width. bag: the mean of word embeddings and a
    small feed-forward network, beside a linear model of words and n-grams.
    """
    init: str = ""
    """Source of the initial weights. Empty: random weights.

    `teacher`: the refined teacher. Any other value is the folder or hub name of an encoder. A
    transformer takes its embeddings and layers. A bilstm or bag takes its embeddings, projected to
    the width `embedding`.
    """
    tokenizer: str = ""
    """Folder or hub name of a tokenizer. Empty: the tokenizer of `init`, else the teacher's."""
    hidden: int = 48
    """Hidden size. BiLSTM: units in each direction. Transformer: model width. Bag: width of the
    feed-forward layers.
    """
    layers: int = 1
    """Transformer: number of layers. Bag: number of feed-forward layers. BiLSTM: unused."""
    keep: list[int] = field(default_factory=list)
    """Transformer with `init`: indices of the layers to copy, from 0. Empty: the first `layers`."""
    heads: int = 2
    """Transformer: number of attention heads. Must divide `hidden`."""
    embedding: int = 0
    """Width of the word embeddings. 0: equal to `hidden`.

    A Transformer from scratch projects them to `hidden`.
    """
    min_count: int = 0
    """Minimum count of a token in the training rows of the tasks to have its own embedding.

    Rarer tokens share the embedding of the unknown token. 0: all tokens of the vocabulary have an
    embedding.
    """
    attention: bool = True
    """BiLSTM: whether to use biattention.

    true: the two texts attend to each other, and a second BiLSTM reads the result. false: one
    BiLSTM with max pooling encodes each text on its own.
    """
    ngrams: int = 3
    """Bag: largest n of the token n-grams with scores in the wide part. 1: single tokens only."""
    buckets: int = 16384
    """Bag: rows for n-grams in each table of the wide part. N-grams are hashed to rows."""
    pooling: Literal["mean", "first"] = "mean"
    """Transformer: input of a head, the mean over tokens or the first token."""
    dropout: float = 0.0
    """Dropout probability, from 0 to below 1."""

    @property
    def name(self) -> str:
        """Kind and size, as shown in run names.

        Examples: `bilstm-128`, `transformer-3x384`, `bag-1x64-e32-min5`.
        """
        size = f"{self.layers}x{self.hidden}"
        if self.kind == "bilstm":
            size = f"{self.hidden}" if self.attention else f"{self.hidden}-max"
        embedding = f"-e{self.embedding_width}" if self.embedding_width != self.hidden else ""
        return f"{self.kind}-{size}{embedding}" + (
            f"-min{self.min_count}" if self.min_count else ""
        )

    @property
    def embedding_width(self) -> int:
        """Width of the word embeddings, with 0 resolved to `hidden`."""
        return self.embedding or self.hidden

    def __post_init__(self) -> None:
        require_at_most(
            self,
            "student",
            hidden=1 << 14,
            layers=128,
            heads=1 << 10,
            embedding=1 << 14,
            min_count=MOST_ROWS,
            buckets=1 << 24,
        )
        for name in ("init", "tokenizer"):
            require_path(f"student.{name}", getattr(self, name))
        require(0 < self.ngrams <= 16, "student.ngrams", self.ngrams, "from 1 to 16")
        for name in ("hidden", "layers", "heads", "buckets"):
            require(getattr(self, name) > 0, f"student.{name}", getattr(self, name), "above 0")
        for name in ("embedding", "min_count"):
            require(getattr(self, name) >= 0, f"student.{name}", getattr(self, name), "0 or more")
        if self.kind == "transformer":
            require(
                self.hidden % self.heads == 0,
                "student.hidden",
                self.hidden,
                f"a multiple of student.heads={self.heads}",
            )
            require(
                not self.keep or self.init != "",
                "student.keep",
                self.keep,
                "empty unless student.init names a checkpoint",
            )
            require(
                not self.keep or len(self.keep) == self.layers,
                "student.keep",
                self.keep,
                f"student.layers={self.layers} layers",
            )
            require(
                all(layer >= 0 for layer in self.keep),
                "student.keep",
                self.keep,
                "layer numbers from 0",
            )
            require(
                self.init == "" or self.embedding_width == self.hidden,
                "student.embedding",
                self.embedding,
                f"0 or student.hidden={self.hidden}, as student.init={self.init} takes layers with "
                "their embeddings",
            )
        else:
            require(not self.keep, "student.keep", self.keep, f"empty for student.kind={self.kind}")
        require(0 <= self.dropout < 1, "student.dropout", self.dropout, "from 0 to below 1")


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


@dataclass(frozen=True)
class PretrainConfig:
    """Training on text before the tasks (mkd/pretraining.py).

    The student's representation of a text follows that of the teacher's checkpoint. No labels are
    used. The hard-label twin starts without it.
    """

    steps: int = 0
    """Number of steps, with the other settings of `train`. 0: no such training."""
    corpus: list[TextFileConfig] = field(default_factory=list)
    """Files of text, beside the texts of the tasks' training rows."""

    def __post_init__(self) -> None:
        require_at_most(self, "pretrain", steps=100_000_000)
        require(self.steps >= 0, "pretrain.steps", self.steps, "0 or more")
        require(
            self.steps > 0 or not self.corpus,
            "pretrain.corpus",
            self.corpus,
            "empty for pretrain.steps=0",
        )


@dataclass(frozen=True)
class FinetuneConfig:
    """Fine-tuning of a distilled student on the tasks of `data` (experiments.finetune)."""

    student: str = ""
    """Required. The student to fine-tune: a folder, or `runs:/RUN_ID/student` for a logged one."""
    loss: LossConfig = field(default_factory=lambda: LossConfig(hard_weight=1.0))
    """The loss. Defaults to the labels only.

    With a hard_weight below 1, the teacher of these settings is trained, or loaded from the cache.
    """
    train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=1000, eval_every=100))


@dataclass(frozen=True)
class SubmitConfig:
    """A submission to the GLUE leaderboard (experiments.submit)."""

    student: str = ""
    """Required. The student: a folder, or `runs:/RUN_ID/student` for a logged one."""
    fill: bool = False
    """Whether tasks without a head are filled with a constant prediction.

    true: every row gets the most frequent label of train.tsv (STS-B: the mean score), and the task
    is reported. false: raises an error if a task has no head.
    """


@dataclass(frozen=True)
class LengthConfig:
    """Length of the row for which FLOPs are counted."""

    length: int = 128
    """Length in tokens. The latency without tokenization is measured on the same length."""

    def __post_init__(self) -> None:
        require_at_most(self, "speed", length=1 << 15)
        require(self.length > 0, "speed.length", self.length, "above 0")


@dataclass(frozen=True)
class SpeedConfig(LengthConfig):
    """How inference speed is measured (mkd/evaluation/speed.py)."""

    batch_size: int = 32
    """Texts in a call when throughput is measured. Latency is always one row on one thread."""
    threads: list[int] = field(default_factory=lambda: [1, 0])
    """Numbers of CPU threads for which throughput is measured. 0: all cores."""
    seconds: float = 20.0
    """Time limit of all speed measurements, in seconds. 0: nothing is measured.

    At least one pass over the texts is made, even beyond the limit.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_most(self, "speed", batch_size=1 << 16, seconds=1e6)
        require(self.batch_size > 0, "speed.batch_size", self.batch_size, "above 0")
        require(0 <= self.seconds < float("inf"), "speed.seconds", self.seconds, "0 or more")
        for number in self.threads:
            valid = 0 <= number <= MOST_THREADS
            require(valid, "speed.threads", number, f"from 0 to {MOST_THREADS}")
        valid = len(self.threads) <= MOST_THREADS
        require(valid, "speed.threads", f"{len(self.threads)} numbers", f"at most {MOST_THREADS}")


@dataclass(frozen=True)
class Int8Config:
    """How weights are quantised to 8 bits."""

    weight_range: Literal["auto", "full", "reduced"] = "auto"
    """Range of the int8 and static weights. full: 8 bits. reduced: 7 bits, which is faster on x86
    processors without VNNI. auto: reduced if the exporting processor is one of these, else full.

    An exported model gives the same predictions on all processors.
    """


@dataclass(frozen=True)
class ExportConfig(Int8Config):
    """Export of a student to ONNX."""

    backends: list[Literal["onnx", "int8"]] = field(default_factory=lambda: ["onnx", "int8"])
    """onnx: float32. int8: dynamic quantisation. Empty: no export, torch only.

    int8 needs onnx.
    """
    max_loss: float = 0.5
    """Largest loss of the mean dev score against torch, in points.

    A backend that loses more is reported and not made available.
    """
    torch: bool = False
    """Whether to write a torch.export program too, as student.pt2 in the student's folder."""

    def __post_init__(self) -> None:
        require_at_most(self, "export", max_loss=100.0)
        require(
            len(set(self.backends)) == len(self.backends),
            "export.backends",
            self.backends,
            "each backend once",
        )
        made_of_it = "onnx" in self.backends or not self.backends
        require(
            made_of_it,
            "export.backends",
            self.backends,
            "onnx with the others, which are made of it",
        )
        require(0 <= self.max_loss < float("inf"), "export.max_loss", self.max_loss, "0 or more")


@dataclass(frozen=True)
class ExportFolderConfig(ExportConfig):
    """Export of a saved student to a folder (experiments.export)."""

    student: str = ""
    """Required. The student: a folder, or `runs:/RUN_ID/student` for a logged one."""
    to: str = ""
    """Required. The folder to create, in the layout of the Hugging Face hub."""


@dataclass(frozen=True)
class HubConfig:
    """What the model card of an export says, and whether it is sent to the Hugging Face hub."""

    push: str = ""
    """Name USER/NAME on the hub to which the folder is sent. Empty: nothing is sent.

    The token is that of a login with `hf auth login`.
    """
    private: bool = True
    """Whether a repository that `push` creates is private."""
    license: str = ""
    """Licence of the student by its name on the hub, such as `apache-2.0`. Empty: not stated."""
    language: list[str] = field(default_factory=list)
    """Languages of the texts, as ISO 639-1 codes. Empty: not stated."""
    base_model: str = ""
    """Name on the hub of the encoder that the teacher started from.

    Empty: teacher.checkpoint of the student's run, if that is such a name.
    """
    datasets: list[str] = field(default_factory=list)
    """Names on the hub of the datasets. Empty: data.path of the run, for data.source=hub."""


@dataclass(frozen=True)
class ThroughputConfig:
    """Comparison of training loops (experiments.throughput)."""

    students: list[Literal["3x384", "2x128", "bilstm", "biattentive"]] = field(
        default_factory=lambda: ["3x384", "2x128", "bilstm", "biattentive"]
    )
    """Students to train. `3x384` and `2x128` are Transformers (layers x width) that pool the first
    token. `bilstm` and `biattentive` are BiLSTMs of 128 units in each direction, without and with
    attention.
    """
    batches: int = 12
    """Number of batches, of train.batch_size rows, that are timed in each loop."""
    rounds: int = 3
    """Number of runs of each loop. The loops take turns, and medians are reported."""

    def __post_init__(self) -> None:
        require_at_most(self, "throughput", batches=1_000_000, rounds=10_000)
        for name in ("batches", "rounds"):
            require(getattr(self, name) > 0, f"throughput.{name}", getattr(self, name), "above 0")
        require(len(self.students) > 0, "throughput.students", self.students, "at least one")


@dataclass(frozen=True)
class Stores:
    """The cache folder, with the settings that decide which rows are read and held out.

    root: the cache folder. data, seed: as in Config.
    """

    root: Path
    data: DataConfig
    seed: int


@dataclass(frozen=True)
class Config:
    """Settings of one run: data, teacher, student, loss, training, speed and export."""

    seed: int = 0
    """Seed of all random numbers except the rows of the demo suite (data.demo.seed)."""
    device: Device = "auto"
    """auto: the GPU if there is one, else the CPU."""
    threads: int = 0
    """CPU threads for training. 0: torch's default."""
    cache: str = ".mkd"
    """Folder of the cache, which holds tokens, teachers, logits and checkpoints."""
    checkpoint_seconds: float = 60.0
    """Seconds of training between checkpoints.

    A killed run resumes from the last checkpoint when the same command is started again.
    """
    whole: bool = False
    """Whether the student is trained on the selection split too.

    The weights of the last step are then kept, because no rows are left to choose the best step.
    """
    baseline: bool = True
    """Whether to train a comparison student.

    Distillation: the hard-label twin, which is trained on labels only and shows what distillation
    adds. Fine-tuning: the same student from new weights, which shows what its training before adds.
    """
    data: DataConfig = field(default_factory=DataConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    speed: SpeedConfig = field(default_factory=SpeedConfig)
    export: ExportConfig = field(default_factory=ExportConfig)

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**32, "seed", self.seed, "from 0 to 2**32 - 1")
        require(self.threads >= 0, "threads", self.threads, "0 or more")
        require_at_most(self, "", threads=MOST_THREADS, checkpoint_seconds=1e9)
        require(self.cache != "", "cache", self.cache, "a folder")
        require_path("cache", self.cache)
        require(
            0 <= self.checkpoint_seconds < float("inf"),
            "checkpoint_seconds",
            self.checkpoint_seconds,
            "0 or more",
        )
        for task in self.teacher.sources if self.data.tasks else ():
            require(
                task in self.data.tasks,
                "teacher.sources",
                task,
                f"the tasks of data.tasks={self.data.tasks}",
            )
        timed = self.speed.seconds > 0 or not self.export.backends
        require(
            timed,
            "speed.seconds",
            self.speed.seconds,
            "above 0 with export.backends, of which the fastest is logged",
        )
        require(
            self.pretrain.steps == 0 or not self.loss.from_labels_alone,
            "pretrain.steps",
            self.pretrain.steps,
            "0 for loss.hard_weight=1, which needs no teacher",
        )
        length = self.speed.length
        require(
            length <= self.data.max_length,
            "speed.length",
            length,
            f"at most data.max_length={self.data.max_length}",
        )

    @property
    def stores(self) -> Stores:
        """The cache folder, with the settings that decide which rows are read and held out."""
        return Stores(Path(self.cache), self.data, self.seed)
