"""Settings of teacher and student, and of the pretraining of a student."""

from dataclasses import dataclass, field
from typing import Literal

from mkd.config.checks import MOST_ROWS, require, require_at_most, require_path
from mkd.config.data import TextFileConfig
from mkd.config.training import SamplingConfig, TrainConfig

REFINED = "refined"
"""Name of the refined teacher in teacher.sources."""
Pooling = Literal["mean", "first"]
"""How a Transformer makes one vector of a text: the mean over its tokens, or its first token."""


@dataclass(frozen=True)
class TeacherConfig:
    """The teacher: an encoder with a head for each task, fine-tuned on all tasks (refinement)."""

    checkpoint: str = ""
    """Folder or hub name of a Hugging Face encoder.

    Empty: the teacher is trained from scratch, with teacher.layers, hidden and heads.
    """
    pooling: Pooling = "mean"
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
    dropout: float = 0.0
    """Dropout probability in the heads, and in the layers of a teacher from scratch."""
    sources: dict[str, list[str]] = field(default_factory=dict)
    """Teachers of single tasks, by task name. Tasks that are not listed use the refined teacher.

    A source is the folder or hub name of a sequence classifier fine-tuned for the task, a file of
    answers (.jsonl or .parquet, mkd/teachers/imported.py), or `refined`. Several sources of a task
    are averaged; a file may answer some rows only.
    """
    mean: Literal["logits", "probabilities"] = "logits"
    """What is averaged over several sources of a task. For regression, scores are averaged."""
    max_epochs: float | None = None
    """Maximum number of passes over the labelled training rows. With few rows, the refinement then
    has fewer steps than teacher.train.steps, but at least 300. 0: no maximum. Null: 8 with
    teacher.checkpoint, else no maximum.
    """
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=2500, eval_every=500, sampling=SamplingConfig(alpha=0.5)
        )
    )

    def __post_init__(self) -> None:
        require_at_most(
            self,
            "teacher",
            layers=128,
            hidden=1 << 14,
            heads=1 << 10,
            vocabulary=1_000_000,
            max_epochs=1e9,
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
        require(
            self.max_epochs is None or self.max_epochs >= 0,
            "teacher.max_epochs",
            self.max_epochs,
            "0 or more, or null",
        )


@dataclass(frozen=True)
class StudentConfig:
    """The student: a small model with shared layers and a head for each task."""

    kind: Literal["bilstm", "transformer", "bag"] = "transformer"
    """bilstm: the biattentive LSTM of Liu et al. 2019, or a plain BiLSTM (see `attention`).
    transformer: an encoder of any depth and width. bag: the mean of word embeddings and a
    small feed-forward network, beside a linear model of words and n-grams. `mkd distill` with
    teacher.checkpoint and no setting of the student takes the bag of experiments/configs/bag.yaml.
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
    words: bool = True
    """BiLSTM: whether it also has the parts of a bag: its last layers get the means and the
    comparison of the words, and there is a wide part. false: the LSTM alone, as in Liu et al. 2019.
    """
    ngrams: int = 3
    """Bag and BiLSTM: largest n of the token n-grams with scores in the wide part.

    1: single tokens only. 0: no wide part.
    """
    buckets: int = 16384
    """Bag and BiLSTM: rows for n-grams in each table of the wide part. N-grams are hashed to rows.
    """
    pooling: Pooling = "mean"
    """Transformer: input of a head, the mean over tokens or the first token."""
    dropout: float = 0.0
    """Dropout probability, from 0 to below 1."""

    @property
    def name(self) -> str:
        """Kind and size, as shown in run names.

        Examples: `bilstm-128`, `bilstm-64-max-alone`, `transformer-3x384`, `bag-1x64-e32-min5`.
        """
        size = f"{self.layers}x{self.hidden}"
        if self.kind == "bilstm":
            size = f"{self.hidden}" if self.attention else f"{self.hidden}-max"
            size += "" if self.words else "-alone"
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
        require(0 <= self.ngrams <= 16, "student.ngrams", self.ngrams, "from 0 to 16")
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
