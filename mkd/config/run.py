"""Settings of a whole run."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from mkd.config.checks import MOST_THREADS, require, require_at_most, require_path
from mkd.config.data import DataConfig
from mkd.config.exports import USUAL_LENGTH, ExportConfig, SpeedConfig
from mkd.config.models import PretrainConfig, StudentConfig, TeacherConfig
from mkd.config.training import LossConfig, TrainConfig

Device = Literal["auto", "cpu", "cuda"]
"""`auto` selects the GPU if there is one, else the CPU."""


@dataclass(frozen=True)
class FinetuneConfig:
    """Fine-tuning of a distilled student on the tasks of `data` (experiments.finetune)."""

    student: str = ""
    """Required. The student to fine-tune: a folder, `runs:/RUN_ID/student` (logged) or
    `models:/NAME@ALIAS` (registered).
    """
    loss: LossConfig = field(default_factory=lambda: LossConfig(hard_weight=1.0))
    """The loss. Defaults to the labels only.

    With a hard_weight below 1, the teacher of these settings is trained, or loaded from the cache.
    """
    train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=1000, eval_every=100))


@dataclass(frozen=True)
class SubmitConfig:
    """A submission to the GLUE leaderboard (experiments.submit)."""

    student: str = ""
    """Required. The student: a folder, `runs:/RUN_ID/student` (logged) or `models:/NAME@ALIAS`
    (registered).
    """
    fill: bool = False
    """Whether tasks without a head are filled with a constant prediction.

    true: every row gets the most frequent label of train.tsv (STS-B: the mean score), and the task
    is reported. false: raises an error if a task has no head.
    """


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
        require(
            self.speed.length <= self.data.max_length,
            "speed.length",
            self.speed.length,
            f"at most data.max_length={self.data.max_length}",
        )

    @property
    def timing(self) -> SpeedConfig:
        """The settings of speed with the length that a speed.length of 0 stands for."""
        return replace(self.speed, length=self.speed.length or self.usual_length)

    @property
    def usual_length(self) -> int:
        """What a speed.length of 0 stands for."""
        return min(USUAL_LENGTH, self.data.max_length)

    @property
    def stores(self) -> Stores:
        """The cache folder, with the settings that decide which rows are read and held out."""
        return Stores(Path(self.cache), self.data, self.seed)
