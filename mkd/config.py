"""All settings of a run and their defaults, as frozen dataclasses; nothing else holds a default."""

from dataclasses import dataclass, field
from typing import Literal


def _check(condition: bool, setting: str, value: object, allowed: str) -> None:
    if not condition:
        raise ValueError(f"{setting} is {value!r}; allowed: {allowed}")


@dataclass(frozen=True)
class DemoConfig:
    """The generated suite that ships with the project (mkd/demo)."""

    seed: int = 0
    """Seed of the generator; another seed gives other rows of the same tasks."""
    train_rows: int = 3000
    """Labelled training rows of each task."""
    unlabelled_rows: int = 4000
    """Training rows of each task that come without a label."""
    dev_rows: int = 1000
    """Rows of each task's dev split; their labels are never noisy."""
    label_noise: float = 0.05
    """Share of training labels that are replaced by a wrong one (moved, for regression)."""

    def __post_init__(self) -> None:
        _check(self.train_rows > 0, "data.demo.train_rows", self.train_rows, "above 0")
        _check(self.unlabelled_rows >= 0, "data.demo.unlabelled_rows", self.unlabelled_rows, "0 or more")
        _check(self.dev_rows > 0, "data.demo.dev_rows", self.dev_rows, "above 0")
        _check(0 <= self.label_noise < 1, "data.demo.label_noise", self.label_noise, "from 0 to below 1")


@dataclass(frozen=True)
class TransferConfig:
    """One file of text without labels, added to the training rows of some tasks and labelled by the teacher."""

    file: str
    """CSV, TSV, JSONL or Parquet, told by its ending."""
    text: list[str]
    """Its text column, or the two columns of a pair; a column's name, or its number from 0 where there is no header."""
    tasks: list[str]
    """The tasks whose transfer set it joins; each must take as many texts as there are columns."""
    header: bool = True
    """Whether the first line of a CSV or TSV file names the columns."""

    def __post_init__(self) -> None:
        _check(len(self.text) in (1, 2), "data.transfer.text", self.text, "one column, or two for pairs")
        _check(len(self.tasks) > 0, "data.transfer.tasks", self.tasks, "at least one task")


@dataclass(frozen=True)
class DataConfig:
    """Which tasks there are and where their rows come from."""

    source: Literal["demo", "glue", "hub", "files"] = "demo"
    """demo: the generated suite; glue: a folder in the official GLUE TSV layout; hub: GLUE through `datasets`;
    files: a YAML file that describes tasks of your own."""
    path: str = ""
    """glue: the folder; hub: the dataset's name, or a folder written by save_to_disk; files: the YAML file; demo: unused."""
    tasks: list[str] = field(default_factory=list)
    """The tasks by name; empty: all that the source has."""
    transfer: list[TransferConfig] = field(default_factory=list)
    """Text without labels that joins the training rows of some tasks."""
    max_length: int = 128
    """Longest input in tokens, special tokens included; longer texts are cut."""
    selection_fraction: float = 0.1
    """Share of the labelled training rows set apart, by the run's seed, to choose the best step."""
    selection_rows: int = 1000
    """At most so many rows a task are set apart."""
    demo: DemoConfig = field(default_factory=DemoConfig)

    def __post_init__(self) -> None:
        _check(self.source == "demo" or self.path != "", "data.path", self.path, f"a path or name, for data.source={self.source}")
        _check(self.source != "demo" or self.path == "", "data.path", self.path, "empty for data.source=demo")
        _check(len(set(self.tasks)) == len(self.tasks), "data.tasks", self.tasks, "each task once")
        _check(self.max_length >= 8, "data.max_length", self.max_length, "8 or more")
        _check(0 < self.selection_fraction < 1, "data.selection_fraction", self.selection_fraction, "between 0 and 1")
        _check(self.selection_rows > 0, "data.selection_rows", self.selection_rows, "above 0")


@dataclass(frozen=True)
class SamplingConfig:
    """How often each task is drawn; a batch holds rows of one task."""

    alpha: float = 1.0
    """A task is drawn in proportion to rows**alpha: 1 is the paper's proportional sampling, 0 is uniform."""
    weights: dict[str, float] = field(default_factory=dict)
    """A weight for every task, instead of alpha; they are divided by their sum."""

    def __post_init__(self) -> None:
        for task, weight in self.weights.items():
            _check(0 <= weight < float("inf"), f"sampling.weights.{task}", weight, "0 or more")
        _check(not self.weights or sum(self.weights.values()) > 0, "sampling.weights", self.weights, "at least one above 0")


@dataclass(frozen=True)
class TrainConfig:
    """The training loop, for a teacher's refinement and for a student alike."""

    steps: int = 2500
    """Optimiser steps, one batch each."""
    batch_size: int = 32
    """Rows a batch."""
    learning_rate: float = 2e-3
    """Peak of AdamW's learning rate."""
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises from 0; it then falls linearly to 0."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay, on matrices only."""
    clip: float = 1.0
    """Largest norm of the gradient; a longer one is scaled down to it."""
    eval_every: int = 250
    """Steps between scorings on the selection split."""
    patience: int = 0
    """Stop after so many scorings without a better mean score; 0: never. The best weights are kept either way."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: matrix products in half precision (autocast); the weights and the losses stay in float32."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "clip", "eval_every"):
            _check(0 < getattr(self, name) < float("inf"), f"train.{name}", getattr(self, name), "above 0")
        _check(0 <= self.warmup <= 1, "train.warmup", self.warmup, "from 0 to 1")
        _check(self.weight_decay >= 0, "train.weight_decay", self.weight_decay, "0 or more")
        _check(self.patience >= 0, "train.patience", self.patience, "0 or more")


@dataclass(frozen=True)
class TeacherConfig:
    """The multi-task refined teacher: an encoder with a head for each task."""

    checkpoint: str = ""
    """A Hugging Face encoder: a folder or a hub name. Empty: trained from scratch at the sizes below."""
    pooling: Literal["mean", "first"] = "mean"
    """What a head sees: the mean over tokens, or the first token."""
    layers: int = 3
    """Layers of a teacher from scratch."""
    hidden: int = 256
    """Width of a teacher from scratch."""
    heads: int = 4
    """Attention heads of a teacher from scratch."""
    vocabulary: int = 1000
    """WordPiece vocabulary, learnt from the tasks' training text, of a teacher from scratch."""
    dropout: float = 0.05
    """Dropout in the heads, and in the layers of a teacher from scratch."""
    sources: dict[str, list[str]] = field(default_factory=dict)
    """By task, where something else than the refined teacher is to teach it: sequence classifiers that were fine-tuned for the
    task (folders or hub names), files of logits (.jsonl, .parquet: mkd/teachers/imported.py), `refined`; of several the mean."""
    mean: Literal["logits", "probabilities"] = "logits"
    """What is averaged over several sources of a task; a regression task's scores always are."""
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(steps=1500, learning_rate=5e-4, sampling=SamplingConfig(alpha=0.5))
    )

    def __post_init__(self) -> None:
        for name in ("layers", "hidden", "heads"):
            _check(getattr(self, name) > 0, f"teacher.{name}", getattr(self, name), "above 0")
        _check(self.hidden % self.heads == 0, "teacher.hidden", self.hidden, f"a multiple of teacher.heads={self.heads}")
        _check(self.vocabulary >= 100, "teacher.vocabulary", self.vocabulary, "100 or more")
        for task, names in self.sources.items():
            valid = 0 < len(set(names)) == len(names) and "" not in names
            _check(valid, f"teacher.sources.{task}", names, "one source or more, each once")
        several = any(len(names) > 1 for names in self.sources.values())
        _check(self.mean == "logits" or several, "teacher.mean", self.mean, "logits, where no task has several teacher.sources")
        _check(0 <= self.dropout < 1, "teacher.dropout", self.dropout, "from 0 to below 1")


@dataclass(frozen=True)
class StudentConfig:
    """The small model: shared layers and a head for each task."""

    kind: Literal["bilstm", "transformer"] = "transformer"
    """bilstm: the paper's biattentive LSTM; transformer: an encoder of any depth and width."""
    init: str = ""
    """Empty: random weights. `teacher`: the refined teacher's embeddings (bilstm, projected to `embedding`) or layers
    (transformer). Or the folder or hub name of another encoder to take them from."""
    tokenizer: str = ""
    """Folder or hub name of a tokenizer; empty: that of `init`, else the teacher's."""
    hidden: int = 64
    """Width: units a direction of the BiLSTM; the Transformer's model width."""
    layers: int = 1
    """Transformer: number of layers."""
    keep: list[int] = field(default_factory=list)
    """Transformer with `init`: which layers to take, from 0; empty: the first `layers`."""
    heads: int = 2
    """Transformer: attention heads."""
    embedding: int = 128
    """BiLSTM: width of the word embeddings."""
    pooling: Literal["mean", "first"] = "mean"
    """Transformer: what a head sees, the mean over tokens or the first token."""
    dropout: float = 0.0
    """Dropout rate."""

    @property
    def name(self) -> str:
        """Kind and size, as runs are named: `bilstm-128`, `transformer-3x384`."""
        return f"{self.kind}-{self.layers}x{self.hidden}" if self.kind == "transformer" else f"{self.kind}-{self.hidden}"

    def __post_init__(self) -> None:
        for name in ("hidden", "layers", "heads", "embedding"):
            _check(getattr(self, name) > 0, f"student.{name}", getattr(self, name), "above 0")
        if self.kind == "transformer":
            _check(self.hidden % self.heads == 0, "student.hidden", self.hidden, f"a multiple of student.heads={self.heads}")
            _check(not self.keep or self.init != "", "student.keep", self.keep, "empty unless student.init names a checkpoint")
            _check(
                not self.keep or len(self.keep) == self.layers, "student.keep", self.keep, f"student.layers={self.layers} layers"
            )
            _check(all(layer >= 0 for layer in self.keep), "student.keep", self.keep, "layer numbers from 0")
        else:
            _check(not self.keep, "student.keep", self.keep, "empty for student.kind=bilstm")
        _check(0 <= self.dropout < 1, "student.dropout", self.dropout, "from 0 to below 1")


@dataclass(frozen=True)
class LossConfig:
    """total = hard_weight * hard + (1 - hard_weight) * soft."""

    kind: Literal["mse", "kl"] = "kl"
    """mse: squared error between logits (the paper); kl: T^2 KL between softened distributions. Regression: always mse."""
    temperature: float = 1.0
    """T of the kl loss, above 0."""
    hard_weight: float = 0.0
    """Weight of the labels: 0 learns from the teacher alone, 1 from the labels alone (no teacher, labelled rows only)."""

    @property
    def name(self) -> str:
        """What is learnt from, as runs are named: `kl T=4`, `mse`, `hard labels`."""
        return "hard labels" if self.hard_weight == 1 else f"kl T={self.temperature:g}" if self.kind == "kl" else "mse"

    def __post_init__(self) -> None:
        _check(0 < self.temperature < float("inf"), "loss.temperature", self.temperature, "above 0")
        _check(self.kind == "kl" or self.temperature == 1.0, "loss.temperature", self.temperature, "1 unless loss.kind=kl")
        _check(0 <= self.hard_weight <= 1, "loss.hard_weight", self.hard_weight, "from 0 to 1")


@dataclass(frozen=True)
class SpeedConfig:
    """How inference speed is measured, for student and teacher in alternation."""

    length: int = 128
    """Tokens of the one text that each measured row is."""
    batch_size: int = 32
    """Rows a batch of the throughput measurement; latency is always of one row."""
    threads: int = 1
    """CPU threads while measuring."""
    repeats: int = 50
    """Timed calls of each model and setting."""
    warmup: int = 5
    """Calls before the timed ones."""

    def __post_init__(self) -> None:
        for name in ("length", "batch_size", "threads", "repeats", "warmup"):
            _check(getattr(self, name) > 0, f"speed.{name}", getattr(self, name), "above 0")


@dataclass(frozen=True)
class Config:
    """One run: a teacher, a student, what is learnt and how it is measured."""

    seed: int = 0
    """Seed of everything random but the demo suite's rows."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: the GPU where there is one."""
    threads: int = 0
    """CPU threads for training; 0: as many as torch takes."""
    cache: str = ".mkd"
    """Folder of the stores: tokens, teachers and their logits."""
    baseline: bool = True
    """Whether to train the same student on the labels alone too, to show what distillation adds."""
    data: DataConfig = field(default_factory=DataConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    speed: SpeedConfig = field(default_factory=SpeedConfig)

    def __post_init__(self) -> None:
        _check(0 <= self.seed < 2**32, "seed", self.seed, "from 0 to 2**32 - 1")
        _check(self.threads >= 0, "threads", self.threads, "0 or more")
        for task in self.teacher.sources if self.data.tasks else ():
            _check(task in self.data.tasks, "teacher.sources", task, f"the tasks of data.tasks={self.data.tasks}")
        length = self.speed.length
        _check(length <= self.data.max_length, "speed.length", length, f"at most data.max_length={self.data.max_length}")
