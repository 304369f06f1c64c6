"""All settings of a run and their defaults, as frozen dataclasses; nothing else holds a default."""

import re
from dataclasses import dataclass, field
from typing import Any, Literal


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
    """One file of text without labels, added to the training rows of some or all tasks and labelled by the teacher."""

    file: str
    """CSV, TSV, JSONL or Parquet, told by its ending."""
    text: list[str]
    """Its text column, or the two columns of a pair; a column's name, or its number from 0 where there is no header."""
    tasks: list[str] = field(default_factory=list)
    """The tasks whose transfer set it joins; each must take as many texts as there are columns. Empty: all that do."""
    header: bool = True
    """Whether the first line of a CSV or TSV file names the columns."""

    def __post_init__(self) -> None:
        _check(len(self.text) in (1, 2), "data.transfer.text", self.text, "one column, or two for pairs")
        _check(len(set(self.tasks)) == len(self.tasks), "data.transfer.tasks", self.tasks, "each task once")


@dataclass(frozen=True)
class AugmentConfig:
    """Changed copies of a task's labelled training rows, for the teacher to label (Tang et al. 2019, arXiv 1903.12136).

    Words are masked or replaced, then some texts are cut. Of pairs the first text, the second and both are changed in turn.
    """

    multiple: int = 0
    """Copies of each labelled training row; those that equal a row or another copy are left out. 0: none."""
    mask: float = 0.1
    """Chance of a word to become the tokenizer's mask token (its unknown one, if it has none)."""
    replace: float = 0.1
    """Chance of a word to become one of its neighbours, which stand in for words of the same part of speech."""
    ngram: float = 0.25
    """Chance of a text to be cut to an n-gram of its words, n from 1 to `longest`."""
    longest: int = 5
    """Words of the longest n-gram."""
    neighbours: int = 10
    """How many of the nearest words, by cosine, a word can be replaced by."""
    embeddings: str = ""
    """Folder or hub name of an encoder (such as the teacher's checkpoint) whose embeddings tell neighbours; empty: words
    of the task that are found between the same words."""

    def __post_init__(self) -> None:
        _check(self.multiple >= 0, "data.augment.multiple", self.multiple, "0 or more")
        for name in ("mask", "replace", "ngram"):
            _check(0 <= getattr(self, name) <= 1, f"data.augment.{name}", getattr(self, name), "from 0 to 1")
        _check(
            self.mask + self.replace <= 1, "data.augment.replace", self.replace, f"at most 1 less data.augment.mask={self.mask}"
        )
        some = self.mask + self.replace + self.ngram > 0
        _check(some or self.multiple == 0, "data.augment.multiple", self.multiple, "0 unless mask, replace or ngram is above 0")
        for name in ("longest", "neighbours"):
            _check(getattr(self, name) > 0, f"data.augment.{name}", getattr(self, name), "above 0")
        _check(
            self.replace > 0 or not self.embeddings,
            "data.augment.embeddings",
            self.embeddings,
            "empty for data.augment.replace=0",
        )


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
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    max_length: int = 128
    """Longest input in tokens, special tokens included; longer texts are cut."""
    selection_fraction: float = 0.1
    """Share of the labelled training rows that are set apart at most, by the run's seed, to choose the best step; rows that
    overlap are set apart together."""
    selection_rows: int = 1000
    """At most so many rows a task are scored, of as many groups of rows that overlap as that share has."""
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
    alpha_end: float | None = None
    """alpha moves linearly over training to this value; null: it stays."""
    order: Literal["random", "round_robin", "epoch"] = "random"
    """random: each batch's task is drawn by alpha or the weights. round_robin: every task in its turn. epoch: the batches of all
    tasks are shuffled and come once each, epoch after epoch, as in the paper; neither depends on alpha."""

    def __post_init__(self) -> None:
        for name in ("alpha", "alpha_end"):
            value = getattr(self, name)
            _check(value is None or abs(value) < float("inf"), f"sampling.{name}", value, "a finite number")
        random = self.order == "random"
        _check(random or not self.weights, "sampling.weights", self.weights, f"empty for sampling.order={self.order}")
        free = random and not self.weights
        _check(
            free or self.alpha_end is None,
            "sampling.alpha_end",
            self.alpha_end,
            "null unless alpha decides",
        )
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
    learning_rate: float | None = None
    """Peak of AdamW's learning rate; null: what suits the model, less where its layers are trained already (mkd/rates.py)."""
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
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """bfloat16: matrix products in half precision (autocast); the weights and the losses stay in float32. auto: bfloat16 where
    it is faster, which is measured once on each machine and a run's settings then say (mkd/precision.py). A teacher scores and
    labels in the precision that it is refined in."""
    lazy: bool = False
    """Row-sparse gradients and a lazy Adam for tables of embeddings with many rows: a step then costs what its batch
    touches. Rows that a batch does not touch keep weight and moments, and none of them decays."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "clip", "eval_every"):
            _check(0 < getattr(self, name) < float("inf"), f"train.{name}", getattr(self, name), "above 0")
        rate = self.learning_rate
        _check(rate is None or 0 < rate < float("inf"), "train.learning_rate", rate, "above 0, or null")
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
    layers: int = 4
    """Layers of a teacher from scratch."""
    hidden: int = 160
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
    train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=1500, sampling=SamplingConfig(alpha=0.5)))

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

    kind: Literal["bilstm", "transformer", "bag"] = "transformer"
    """bilstm: the paper's biattentive LSTM, or less of it (`attention`); transformer: an encoder of any depth and width; bag:
    the mean of embeddings of words and n-grams, and a small feed-forward network."""
    init: str = ""
    """Empty: random weights. `teacher`: the refined teacher's embeddings (bilstm and bag, projected to `embedding`) or
    layers (transformer). Or the folder or hub name of another encoder to take them from."""
    tokenizer: str = ""
    """Folder or hub name of a tokenizer; empty: that of `init`, else the teacher's."""
    hidden: int = 48
    """Width: units a direction of the BiLSTM; the Transformer's model width; of the bag's feed-forward layers."""
    layers: int = 1
    """Transformer: number of layers; bag: layers of the feed-forward network."""
    keep: list[int] = field(default_factory=list)
    """Transformer with `init`: which layers to take, from 0; empty: the first `layers`."""
    heads: int = 2
    """Transformer: attention heads."""
    embedding: int = 0
    """Width of the word embeddings; 0: as wide as `hidden`. A Transformer from scratch projects them to its own width."""
    min_count: int = 0
    """Only tokens that occur so often in the tasks' training rows have an embedding, all others share the unknown token's;
    0: the tokenizer's whole vocabulary has embeddings."""
    attention: bool = True
    """BiLSTM: whether texts attend to each other and a second BiLSTM reads what they see; without, one BiLSTM under max pooling
    reads each text by itself."""
    ngrams: int = 3
    """Bag: the longest n-grams of tokens that have embeddings; 1: words alone."""
    buckets: int = 16384
    """Bag: rows of the table of n-grams, into which they are hashed."""
    pooling: Literal["mean", "first"] = "mean"
    """Transformer: what a head sees, the mean over tokens or the first token."""
    dropout: float = 0.0
    """Dropout rate."""

    @property
    def name(self) -> str:
        """Kind and size, as runs are named: `bilstm-128`, `transformer-3x384`, `bag-1x64-e32-min5`."""
        size = f"{self.layers}x{self.hidden}"
        if self.kind == "bilstm":
            size = f"{self.hidden}" if self.attention else f"{self.hidden}-max"
        embedding = f"-e{self.embedding_width}" if self.embedding_width != self.hidden else ""
        return f"{self.kind}-{size}{embedding}" + (f"-min{self.min_count}" if self.min_count else "")

    @property
    def embedding_width(self) -> int:
        """Width of the word embeddings."""
        return self.embedding or self.hidden

    def __post_init__(self) -> None:
        for name in ("hidden", "layers", "heads", "ngrams", "buckets"):
            _check(getattr(self, name) > 0, f"student.{name}", getattr(self, name), "above 0")
        for name in ("embedding", "min_count"):
            _check(getattr(self, name) >= 0, f"student.{name}", getattr(self, name), "0 or more")
        if self.kind == "transformer":
            _check(self.hidden % self.heads == 0, "student.hidden", self.hidden, f"a multiple of student.heads={self.heads}")
            _check(not self.keep or self.init != "", "student.keep", self.keep, "empty unless student.init names a checkpoint")
            _check(
                not self.keep or len(self.keep) == self.layers, "student.keep", self.keep, f"student.layers={self.layers} layers"
            )
            _check(all(layer >= 0 for layer in self.keep), "student.keep", self.keep, "layer numbers from 0")
            _check(
                self.init == "" or self.embedding_width == self.hidden,
                "student.embedding",
                self.embedding,
                f"0 or student.hidden={self.hidden}, as student.init={self.init} takes layers with their embeddings",
            )
        else:
            _check(not self.keep, "student.keep", self.keep, f"empty for student.kind={self.kind}")
        _check(0 <= self.dropout < 1, "student.dropout", self.dropout, "from 0 to below 1")


@dataclass(frozen=True)
class MatchConfig:
    """Hidden states of the teacher that the student's are mapped onto, in the mean over a row's tokens (mkd/matching.py).

    Layers are numbered as a model has them: 0 is its embeddings, 1 the first layer, -1 the last.
    """

    weight: float = 0.0
    """Factor on the squared error between the teacher's states and the student's after a learnt linear map, in shares of the
    variance of the teacher's; 0: off."""
    teacher_layers: list[int] = field(default_factory=lambda: [0, -1])
    """The teacher's layers. Their states are stored: 2 bytes a number, as many numbers as the teacher is wide, a row."""
    student_layers: list[int] = field(default_factory=lambda: [0, -1])
    """The student's layer for each of them. bilstm: 1 is its encoder, 2 its integrating LSTM; bag: its feed-forward layers."""

    def __post_init__(self) -> None:
        _check(0 <= self.weight < float("inf"), "loss.match.weight", self.weight, "0 or more")
        _check(len(self.teacher_layers) > 0, "loss.match.teacher_layers", self.teacher_layers, "at least one layer")
        _check(
            len(self.student_layers) == len(self.teacher_layers),
            "loss.match.student_layers",
            self.student_layers,
            f"one layer for each of loss.match.teacher_layers={self.teacher_layers}",
        )


@dataclass(frozen=True)
class LossConfig:
    """A row's loss is hard_weight * hard + (1 - hard_weight) * soft, or soft alone where it has no label."""

    kind: Literal["mse", "sse", "kl"] = "kl"
    """mse: squared error between logits, mean over rows and classes; sse: its sum over classes, mean over rows (the paper);
    kl: T^2 KL between softened distributions. A regression's is always the squared error."""
    temperature: float = 1.0
    """T of the kl loss, above 0."""
    hard_weight: float = 0.0
    """Weight of the labels: 0 learns from the teacher alone, 1 from the labels alone. Then the unlabelled rows have no part, and
    no teacher is made or loaded, unless student.init=teacher takes its layers or embeddings from it."""
    hard_weight_end: float | None = None
    """hard_weight moves linearly over training to this value; 0 to 1 is BAM's teacher annealing; null: it stays."""
    task_weights: dict[str, float] = field(default_factory=dict)
    """A factor on the loss of every task; empty: 1 for each."""
    balance: Literal["fixed", "uncertainty"] = "fixed"
    """uncertainty: factors learnt with the weights, from a log-variance a task (Kendall et al. 2018); fixed: as above."""
    mixup: float = 0.0
    """alpha: rows of a batch are mixed two by two, by a share from Beta(alpha, alpha), and their teacher logits likewise
    (MixKD, Liang et al. 2021). 0: they are not."""
    match: MatchConfig = field(default_factory=MatchConfig)

    @property
    def from_labels_alone(self) -> bool:
        """Whether nothing is learnt from a teacher."""
        return self.hard_weight == 1 and self.hard_weight_end in (None, 1)

    @property
    def name(self) -> str:
        """What is learnt from, as runs are named: `kl T=4`, `mse`, `sse`, `hard labels`."""
        return "hard labels" if self.from_labels_alone else f"kl T={self.temperature:g}" if self.kind == "kl" else self.kind

    def __post_init__(self) -> None:
        _check(0 < self.temperature < float("inf"), "loss.temperature", self.temperature, "above 0")
        _check(self.kind == "kl" or self.temperature == 1.0, "loss.temperature", self.temperature, "1 unless loss.kind=kl")
        _check(0 <= self.mixup < float("inf"), "loss.mixup", self.mixup, "0 or more")
        _check(0 <= self.hard_weight <= 1, "loss.hard_weight", self.hard_weight, "from 0 to 1")
        end = self.hard_weight_end
        _check(end is None or 0 <= end <= 1, "loss.hard_weight_end", end, "from 0 to 1, or null")
        for task, weight in self.task_weights.items():
            _check(0 < weight < float("inf"), f"loss.task_weights.{task}", weight, "above 0")
        fixed = self.balance == "fixed"
        _check(fixed or not self.task_weights, "loss.task_weights", self.task_weights, "empty for loss.balance=uncertainty")
        taught = self.match.weight == 0 or not self.from_labels_alone
        _check(taught, "loss.match.weight", self.match.weight, "0 for loss.hard_weight=1, which needs no teacher")


@dataclass(frozen=True)
class FinetuneConfig:
    """Further training of a distilled student on the tasks of `data`, by experiments.finetune."""

    student: str = ""
    """The student to start from: its folder, or `runs:/RUN_ID/student` for the one that a run has logged."""
    loss: LossConfig = field(default_factory=lambda: LossConfig(hard_weight=1.0))
    """By the labels alone; with a smaller hard_weight the teacher of these settings is made for the tasks, or found."""
    train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=1000, eval_every=100))


@dataclass(frozen=True)
class SubmitConfig:
    """A student's answers for GLUE's leaderboard, by experiments.submit."""

    student: str = ""
    """The student that answers: its folder, or `runs:/RUN_ID/student` for the one that a run has logged."""
    fill: bool = False
    """Whether a task that the student has no head for gets one answer in every row, the most frequent label of its train.tsv
    (STS-B: the mean score), and is told of; without, such a student is refused."""


@dataclass(frozen=True)
class SpeedConfig:
    """How inference speed is measured (mkd/speed.py)."""

    length: int = 128
    """Tokens of the row that is timed without tokenising."""
    batch_size: int = 32
    """Texts a call of the throughput; latency is always of one row on one thread."""
    threads: list[int] = field(default_factory=lambda: [1, 0])
    """CPU threads, on each number of which the throughput is measured; 0: as many as there are cores."""
    seconds: float = 20.0
    """Seconds that all of it may take: one pass over the texts is made however long it takes. 0: nothing is measured."""

    def __post_init__(self) -> None:
        for name in ("length", "batch_size"):
            _check(getattr(self, name) > 0, f"speed.{name}", getattr(self, name), "above 0")
        _check(0 <= self.seconds < float("inf"), "speed.seconds", self.seconds, "0 or more")
        for number in self.threads:
            _check(number >= 0, "speed.threads", number, "0 or more")


@dataclass(frozen=True)
class ExportConfig:
    """What a student is turned into for its work after training, as ONNX."""

    backends: list[Literal["onnx", "int8"]] = field(default_factory=lambda: ["onnx", "int8"])
    """onnx: float32; int8: weights of 8 bits, dynamic quantisation. Empty: torch alone."""
    max_loss: float = 0.5
    """Points of the mean score on dev that a backend may lose against torch; one that loses more is not offered."""
    per_task: bool = False
    """Whether each task has a graph of its own, instead of one with all heads."""
    weight_range: Literal["auto", "full", "reduced"] = "auto"
    """Of int8: full, weights take all 8 bits; reduced, 7 of them, which an x86 processor without VNNI multiplies
    faster; auto: reduced where the exporting processor is such a one. Either is answered alike on all processors."""
    torch: bool = False
    """Whether a torch.export program is written too, as student.pt2 beside the student's weights."""
    student: str = ""
    """For experiments.export, the student: its folder, or `runs:/RUN_ID/student` for the one that a run has logged."""
    to: str = ""
    """For experiments.export, the folder that is made, with one of each backend in it."""

    def __post_init__(self) -> None:
        _check(len(set(self.backends)) == len(self.backends), "export.backends", self.backends, "each backend once")
        made_of_it = "onnx" in self.backends or not self.backends
        _check(made_of_it, "export.backends", self.backends, "onnx with the others, which are made of it")
        _check(0 <= self.max_loss < float("inf"), "export.max_loss", self.max_loss, "0 or more")


@dataclass(frozen=True)
class RegistryConfig:
    """Where the model that a run logs is registered in MLflow."""

    name: str = ""
    """The registered model that it becomes a version of; empty: none."""
    alias: str = ""
    """An alias that points to the version from then on, such as `champion`."""

    def __post_init__(self) -> None:
        _check(not re.search("[/:]", self.name), "registry.name", self.name, "a name without / and :")
        _check(self.name != "" or self.alias == "", "registry.alias", self.alias, "empty without registry.name")
        plain = re.fullmatch(r"[\w-]*", self.alias) and not re.fullmatch(r"v\d+|latest", self.alias, re.IGNORECASE)
        _check(bool(plain), "registry.alias", self.alias, "letters, digits, _ and -; not a version's number or latest")


@dataclass(frozen=True)
class ThroughputConfig:
    """How training loops are timed, by experiments.throughput."""

    students: list[Literal["3x384", "2x128", "bilstm", "biattentive"]] = field(
        default_factory=lambda: ["3x384", "2x128", "bilstm", "biattentive"]
    )
    """Which students are trained: Transformers of layers x width whose heads see the first token, and BiLSTMs of 128 units a
    direction, without attention and with it."""
    batches: int = 12
    """Batches of train.batch_size rows that each loop is timed on."""
    rounds: int = 3
    """How often each loop runs, all in turn; medians are reported."""

    def __post_init__(self) -> None:
        for name in ("batches", "rounds"):
            _check(getattr(self, name) > 0, f"throughput.{name}", getattr(self, name), "above 0")
        _check(len(self.students) > 0, "throughput.students", self.students, "at least one")


@dataclass(frozen=True)
class AblationConfig:
    """Which variants of these settings experiments.ablation compares, and over which seeds."""

    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By the variant's name what it changes, settings of data, teacher, student, loss and train by their dotted names; {} is
    the config as it is. The first one is what all others are compared with."""
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    """Each variant is run with each of these as `seed`."""

    def __post_init__(self) -> None:
        for name, settings in self.variants.items():
            valid = re.fullmatch(r"\w[\w .-]*", name) is not None
            _check(valid, "ablation.variants", name, "names of letters, digits, blanks and any of _ . -")
            for setting in settings:
                known = setting.startswith(("data.", "teacher.", "student.", "loss.", "train."))
                _check(known, f"ablation.variants.{name}", setting, "dotted names of data, teacher, student, loss and train")
        _check(len(self.seeds) > 0, "ablation.seeds", self.seeds, "at least one")
        _check(all(0 <= seed < 2**32 for seed in self.seeds), "ablation.seeds", self.seeds, "from 0 to 2**32 - 1")
        _check(len(set(self.seeds)) == len(self.seeds), "ablation.seeds", self.seeds, "each seed once")


@dataclass(frozen=True)
class PruningConfig:
    """When a search stops a trial before its end (experiments/pruning.py)."""

    margin: float = 5.0
    """Points of the mean score on the selection split by which one that is at least as fast has to be ahead at the same step.
    0: the first that is ahead at all stops it."""
    warmup: float = 0.5
    """Share of train.steps before which no trial is stopped, as large students start slowly; 1: none ever is."""

    def __post_init__(self) -> None:
        _check(0 <= self.margin < float("inf"), "search.pruning.margin", self.margin, "0 or more")
        _check(0 <= self.warmup <= 1, "search.pruning.warmup", self.warmup, "from 0 to 1")


def without_password(address: str) -> str:
    """An address of a database as it may be told and kept: a password may be wherever SQLAlchemy takes one from."""
    return re.sub(r"([?&]password=)[^&]*", r"\1***", re.sub(r"(://[^:/]*):[^@]*@", r"\1:***@", address))


@dataclass(frozen=True)
class SearchConfig:
    """An Optuna study over any settings, by experiments.search."""

    study: str = "mkd"
    """The study's name in its storage; the same command goes on with it, or joins it from another machine."""
    storage: str = "sqlite:///optuna.db"
    """Where the study is kept: a file of SQLite, or postgresql://USER:PASSWORD@HOST/DATABASE for several machines."""
    space: dict[str, Any] = field(default_factory=dict)
    """What is searched: settings by their dotted names (experiments/space.py)."""
    start: list[dict[str, Any]] = field(default_factory=list)
    """Settings that are tried first; what the space has and they leave out is drawn."""
    start_from: str = ""
    """Another study in the same storage whose finished trials this one begins with, as far as they lie in its space."""
    trials: int = 30
    """Trials in all, those of start_from not counted."""
    workers: int = 1
    """Processes here that make trials, of one thread each unless `threads` says otherwise."""
    engine: Literal["processes", "spark"] = "processes"
    """spark: the workers are Spark's, and the study is kept in MLflow (experiments/spark.py)."""
    master: str = "local[2]"
    """Spark's master, for engine=spark."""
    sampler: Literal["tpe", "random"] = "tpe"
    """tpe: Optuna's tree-structured Parzen estimator, made for several objectives; random: to compare with."""
    backend: Literal["torch", "onnx", "int8"] = "onnx"
    """In what a candidate's speed is measured."""
    objectives: list[Literal["quality", "latency", "bytes", "parameters", "flops"]] = field(
        default_factory=lambda: ["quality", "latency"]
    )
    """quality: the mean score on the selection split, as high as may be; all others as low. `quality` alone, under a budget, is
    the search for one student."""
    budget_ms: float | None = None
    """A candidate whose latency is above it is closed without training; null: none is."""
    budget_bytes: float | None = None
    """The same for the bytes of its weights on disk."""
    budget_parameters: float | None = None
    """The same for the number of its parameters, embeddings included."""
    pruning: PruningConfig = field(default_factory=PruningConfig)
    heartbeat_seconds: int = 20
    """A worker tells the storage so often that it is alive; one that is silent for three times as long has its trial retried."""

    def __post_init__(self) -> None:
        _check(
            bool(re.fullmatch(r"[\w .-]+", self.study)), "search.study", self.study, "letters, digits, blanks and any of _ . -"
        )
        known = re.match(r"sqlite:///[^:]|postgresql://.", self.storage) is not None  # a study in memory has one process
        _check(
            known, "search.storage", without_password(self.storage), "sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
        )
        for name in ("trials", "workers", "heartbeat_seconds"):
            _check(getattr(self, name) > 0, f"search.{name}", getattr(self, name), "above 0")
        _check(self.objectives[:1] == ["quality"], "search.objectives", self.objectives, "quality first")
        _check(len(set(self.objectives)) == len(self.objectives), "search.objectives", self.objectives, "each once")
        for name in ("budget_ms", "budget_bytes", "budget_parameters"):
            value = getattr(self, name)
            _check(value is None or 0 < value < float("inf"), f"search.{name}", value, "above 0, or null")
        _check(self.start_from != self.study, "search.start_from", self.start_from, "another study than search.study")
        plain = self.engine == "processes" or not (self.start or self.start_from)
        _check(plain, "search.engine", self.engine, "processes, for search.start and search.start_from")


@dataclass(frozen=True)
class PromoteConfig:
    """The best student of a study under a budget, trained anew and registered, by experiments.promote."""

    study: str = ""
    """The study's name; its runs are looked for in the tracking store."""
    budget_ms: float | None = None
    """The most that its latency may be, in the study's backend; null: any."""
    whole: bool = True
    """Whether it learns from the rows of the selection split too."""
    seeds: list[int] = field(default_factory=lambda: [0])
    """It is trained once with each; the first one's student is registered, the others tell how far a seed moves its score."""

    def __post_init__(self) -> None:
        _check(self.budget_ms is None or self.budget_ms > 0, "promote.budget_ms", self.budget_ms, "above 0, or null")
        _check(len(self.seeds) > 0, "promote.seeds", self.seeds, "at least one")
        _check(all(0 <= seed < 2**32 for seed in self.seeds), "promote.seeds", self.seeds, "from 0 to 2**32 - 1")
        _check(len(set(self.seeds)) == len(self.seeds), "promote.seeds", self.seeds, "each seed once")


@dataclass(frozen=True)
class LabelConfig:
    """Text on disk that a logged model answers, on Spark, by experiments.label."""

    model: str = ""
    """`runs:/RUN_ID/student`, of a distillation, fine-tuning or teacher; or a registered one, `models:/NAME@ALIAS`."""
    task: str = ""
    """The task of the model that the texts are for."""
    corpus: str = ""
    """A Parquet file, or a folder of them; columns `text`, `text_pair` for a task of pairs, and any others."""
    output: str = ""
    """What is written: a folder of Parquet files, the corpus with the answers beside each row; for logits one .parquet file."""
    logits: bool = False
    """Write the logits that teacher.sources takes; the corpus then has columns `split` and `row` (mkd/teachers/imported.py)."""
    master: str = "local[*]"
    """Spark's master. local[N]: N processes here; a cluster's machines need this project's environment, and to see both paths."""

    def __post_init__(self) -> None:
        one_file = self.output == "" or self.output.endswith(".parquet")
        _check(one_file or not self.logits, "label.output", self.output, "a file that ends in .parquet, for label.logits=true")
        _check(self.master != "", "label.master", self.master, "local[*], local[N] or the address of a cluster's master")


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
    checkpoint_seconds: float = 60.0
    """Seconds of training between checkpoints; a run that was killed goes on from the last one when it is started again."""
    whole: bool = False
    """Whether a student learns from the rows that are set apart too: the weights of the last step are kept then, as nothing is
    left to choose better ones by."""
    baseline: bool = True
    """Whether to train the same student on the labels alone too, to show what distillation adds; and beside a fine-tuning one
    that is started anew, to show what the student's training before adds."""
    data: DataConfig = field(default_factory=DataConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    submit: SubmitConfig = field(default_factory=SubmitConfig)
    speed: SpeedConfig = field(default_factory=SpeedConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    registry: RegistryConfig = field(default_factory=RegistryConfig)
    throughput: ThroughputConfig = field(default_factory=ThroughputConfig)
    ablation: AblationConfig = field(default_factory=AblationConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    promote: PromoteConfig = field(default_factory=PromoteConfig)
    label: LabelConfig = field(default_factory=LabelConfig)

    def __post_init__(self) -> None:
        _check(0 <= self.seed < 2**32, "seed", self.seed, "from 0 to 2**32 - 1")
        _check(self.threads >= 0, "threads", self.threads, "0 or more")
        _check(0 <= self.checkpoint_seconds < float("inf"), "checkpoint_seconds", self.checkpoint_seconds, "0 or more")
        for task in self.teacher.sources if self.data.tasks else ():
            _check(task in self.data.tasks, "teacher.sources", task, f"the tasks of data.tasks={self.data.tasks}")
        timed = self.speed.seconds > 0 or not self.export.backends
        _check(timed, "speed.seconds", self.speed.seconds, "above 0 with export.backends, of which the fastest is logged")
        length = self.speed.length
        _check(length <= self.data.max_length, "speed.length", length, f"at most data.max_length={self.data.max_length}")
