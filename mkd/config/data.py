"""Settings of the rows: tasks, demo suite, transfer text and augmentation."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from mkd.config.checks import MOST_ROWS, require, require_at_most, require_path

Source = Literal["auto", "demo", "glue", "hub", "files"]


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
