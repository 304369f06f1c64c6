"""The settings of each command.

A command accepts, shows and logs the settings that it uses and no others. mkd/config/ defines the
settings of training and evaluation. This file defines those of the model registry, searches and
Spark, and lists the settings of each command.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from mkd.config import (
    Config,
    DataConfig,
    Device,
    ExportConfig,
    ExportFolderConfig,
    FinetuneConfig,
    HubConfig,
    Int8Config,
    LengthConfig,
    LossConfig,
    SpeedConfig,
    StudentConfig,
    SubmitConfig,
    TeacherConfig,
    ThroughputConfig,
    TrainConfig,
    require,
    require_at_most,
)
from mkd.rates import with_finetuning_rate, with_learning_rates
from mkd.storage.addresses import without_passwords
from mkd.tasks.origins import source_of

VARIED = ("data.", "teacher.", "student.", "pretrain.", "loss.", "train.")
"""Prefixes of the settings that a search or an ablation can vary."""
VARIED_GROUPS = "data, teacher, student, pretrain, loss and train"


@dataclass(frozen=True)
class RegistryConfig:
    """Registration of a run's model in MLflow's model registry."""

    name: str = ""
    """Name of the registered model that gets a new version. Empty: the model is not registered."""
    alias: str = ""
    """Alias that is moved to the new version, such as `champion`. Empty: no alias."""

    def __post_init__(self) -> None:
        require(
            re.fullmatch(r"[^/:\x00-\x1f\x7f]{0,200}", self.name) is not None,
            "registry.name",
            self.name[:80],
            "a name of at most 200 characters, without /, : and control characters",
        )
        require(
            self.name != "" or self.alias == "",
            "registry.alias",
            self.alias,
            "empty without registry.name",
        )
        plain = re.fullmatch(r"[\w-]{0,200}", self.alias) and not re.fullmatch(
            r"v\d+|latest", self.alias, re.IGNORECASE
        )
        require(
            bool(plain),
            "registry.alias",
            self.alias,
            "letters, digits, _ and -; not a version's number or latest",
        )


@dataclass(frozen=True)
class AblationConfig:
    """Variants and seeds of an ablation (experiments.ablation)."""

    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Settings that each variant changes, by the variant's name.

    Settings of data, teacher, student, pretrain, loss and train are allowed, by their dotted names.
    {}: no change. All variants are compared with the first one. At least two are required.
    """
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    """Values of `seed`. Each variant is run once with each seed."""

    def __post_init__(self) -> None:
        for name, settings in self.variants.items():
            # YAML reads keys such as 7 or true as no strings.
            require(
                isinstance(name, str) and re.fullmatch(r"\w[\w .-]{0,99}", name) is not None,
                "ablation.variants",
                name[:120] if isinstance(name, str) else name,
                "names of at most 100 letters, digits, blanks and any of _ . -; a number in quotes",
            )
            for setting in settings:
                require(
                    isinstance(setting, str) and setting.startswith(VARIED),
                    f"ablation.variants.{name}",
                    setting,
                    f"dotted names of {VARIED_GROUPS}",
                )
        require(len(self.seeds) > 0, "ablation.seeds", self.seeds, "at least one")
        require(
            all(0 <= seed < 2**32 for seed in self.seeds),
            "ablation.seeds",
            self.seeds,
            "from 0 to 2**32 - 1",
        )
        require(
            len(set(self.seeds)) == len(self.seeds), "ablation.seeds", self.seeds, "each seed once"
        )


@dataclass(frozen=True)
class PruningConfig:
    """Pruning of the trials of a search (experiments/studies/pruning.py)."""

    margin: float = 5.0
    """Margin in points of the mean score on the selection split.

    A trial is pruned if a trial that is at least as fast is ahead of it by more than the margin at
    the same step. 0: any lead prunes.
    """
    warmup: float = 0.5
    """Share of train.steps, from 0 to 1, before which no trial is pruned. 1: no pruning.

    Large students start slowly, so early scores say little about them.
    """

    def __post_init__(self) -> None:
        require_at_most(self, "search.pruning", margin=100.0)
        require(0 <= self.margin < float("inf"), "search.pruning.margin", self.margin, "0 or more")
        require(0 <= self.warmup <= 1, "search.pruning.warmup", self.warmup, "from 0 to 1")


@dataclass(frozen=True)
class SearchConfig:
    """An Optuna study over arbitrary settings (experiments.search)."""

    study: str = "mkd"
    """Name of the study in its storage.

    The same command continues the study, or joins it from another machine.
    """
    storage: str = "sqlite:///optuna.db"
    """Storage of the study: sqlite:///FILE, or postgresql://USER:PASSWORD@HOST/DATABASE for several
    machines.
    """
    space: dict[str, Any] = field(default_factory=dict)
    """Required. The search space: settings by dotted names (experiments/studies/space.py)."""
    start: list[dict[str, Any]] = field(default_factory=list)
    """Settings of the first trials. Other settings of the space are sampled.

    Weights of tasks may be `equal`.
    """
    start_from: str = ""
    """Name of another study in the same storage. Empty: none.

    Its finished trials that lie in this search space are copied to this study at the start.
    """
    trials: int = 30
    """Total number of trials of the study, without those copied by start_from."""
    workers: int = 1
    """Number of worker processes on this machine. Each uses `threads` threads, by default one. The
    teacher is refined before they start, by default with all cores.
    """
    engine: Literal["processes", "spark"] = "processes"
    """processes: worker processes on this machine. spark: workers of Spark, with the study stored
    in MLflow (experiments/on_spark/engine.py).
    """
    master: str = "local[2]"
    """Address of Spark's master, for engine=spark."""
    sampler: Literal["tpe", "random"] = "tpe"
    """tpe: Optuna's multi-objective tree-structured Parzen estimator. random: random search, as a
    baseline.
    """
    backend: Literal["torch", "onnx", "int8"] = "onnx"
    """Backend in which the speed of a candidate is measured."""
    objectives: list[Literal["quality", "latency", "bytes", "parameters", "flops"]] = field(
        default_factory=lambda: ["quality", "latency"]
    )
    """Objectives of the search; `quality` must be the first.

    quality is the mean score on the selection split and is maximised. All others are minimised;
    bytes are those of the files in `backend`. With `quality` only, the search looks for the best
    single student under a budget.
    """
    budget_ms: float | None = None
    """Maximum latency in milliseconds. null: no limit.

    A slower candidate is marked as infeasible and not trained.
    """
    budget_parameters: float | None = None
    """Maximum number of parameters, including embeddings. null: no limit.

    A larger candidate is marked as infeasible and not trained.
    """
    pruning: PruningConfig = field(default_factory=PruningConfig)
    heartbeat_seconds: int = 20
    """Seconds between heartbeats of a worker.

    The trial of a worker without a heartbeat for three times as long is retried.
    """

    def __post_init__(self) -> None:
        require(
            bool(re.fullmatch(r"[\w .-]{1,100}", self.study)),
            "search.study",
            self.study[:120],
            "at most 100 letters, digits, blanks and any of _ . -",
        )
        # sqlite:///:memory: is not allowed: other processes cannot see a study in memory.
        known = re.match(r"sqlite:///[^:]|postgresql://.", self.storage) is not None
        require(
            known,
            "search.storage",
            without_passwords(self.storage),
            "sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE",
        )
        require_at_most(
            self,
            "search",
            trials=1_000_000,
            workers=1024,
            heartbeat_seconds=86_400,
            budget_ms=1e9,
            budget_parameters=1e12,
        )
        for name in ("trials", "workers", "heartbeat_seconds"):
            require(getattr(self, name) > 0, f"search.{name}", getattr(self, name), "above 0")
        require(
            self.objectives[:1] == ["quality"],
            "search.objectives",
            self.objectives,
            "quality first",
        )
        require(
            len(set(self.objectives)) == len(self.objectives),
            "search.objectives",
            self.objectives,
            "each once",
        )
        for name in ("budget_ms", "budget_parameters"):
            value = getattr(self, name)
            require(
                value is None or 0 < value < float("inf"),
                f"search.{name}",
                value,
                "above 0, or null",
            )
        require(
            self.start_from != self.study,
            "search.start_from",
            self.start_from,
            "another study than search.study",
        )
        plain = self.engine == "processes" or not (self.start or self.start_from)
        require(
            plain, "search.engine", self.engine, "processes, for search.start and search.start_from"
        )


@dataclass(frozen=True)
class PromoteConfig:
    """Retraining and registration of a study's best student (experiments.promote)."""

    study: str = ""
    """Required. Name of the study. Its trials are read from the MLflow tracking store."""
    budget_ms: float | None = None
    """Maximum latency in milliseconds, in the study's backend. null: no limit."""
    whole: bool = True
    """Whether the student is trained on the selection split too, as Config.whole in mkd/config/."""
    seeds: list[int] = field(default_factory=lambda: [0])
    """Seeds. The student is trained once with each seed.

    The student of the first seed is registered. The others show how much the score varies.
    """

    def __post_init__(self) -> None:
        require_at_most(self, "promote", budget_ms=1e9)
        require(
            self.budget_ms is None or self.budget_ms > 0,
            "promote.budget_ms",
            self.budget_ms,
            "above 0, or null",
        )
        require(len(self.seeds) > 0, "promote.seeds", self.seeds, "at least one")
        require(
            all(0 <= seed < 2**32 for seed in self.seeds),
            "promote.seeds",
            self.seeds,
            "from 0 to 2**32 - 1",
        )
        require(
            len(set(self.seeds)) == len(self.seeds), "promote.seeds", self.seeds, "each seed once"
        )


@dataclass(frozen=True)
class LabelConfig:
    """Predictions of a logged model for a corpus on disk, with Spark (experiments.label)."""

    model: str = ""
    """Required. The model: `runs:/RUN_ID/student` (logged) or `models:/NAME@ALIAS` (registered).

    Runs of distillation, fine-tuning and teachers log a model.
    """
    task: str = ""
    """Required. Name of the model's task whose head predicts."""
    corpus: str = ""
    """Required. A Parquet file, or a folder of Parquet files.

    Columns: `text`, `text_pair` for tasks with pairs, and any others.
    """
    output: str = ""
    """Required. A new folder of Parquet files with the rows of the corpus and their predictions.

    With `logits`, a single new .parquet file.
    """
    logits: bool = False
    """Whether to write logits in the format that teacher.sources reads (mkd/teachers/imported.py).

    The corpus then needs the columns `split` and `row`.
    """
    master: str = "local[*]"
    """Address of Spark's master. local[N]: N processes here. local[*]: one for each core.

    The machines of a cluster need this project's environment and access to both paths.
    """

    def __post_init__(self) -> None:
        one_file = self.output == "" or self.output.endswith(".parquet")
        require(
            one_file or not self.logits,
            "label.output",
            self.output,
            "a file that ends in .parquet, for label.logits=true",
        )
        require(
            self.model == "" or self.model.startswith(("runs:/", "models:/")),
            "label.model",
            self.model,
            "runs:/RUN_ID/student, or models:/NAME@ALIAS",
        )
        require(
            re.match(r"local(-cluster\[|$)|local\[(\*|[1-9]\d*)[],]|(?!local)\S", self.master)
            is not None,
            "label.master",
            self.master,
            "local[*], local[N] or the address of a cluster's master",
        )


@dataclass(frozen=True)
class Command:
    """Base class of the settings of all commands."""

    def __post_init__(self) -> None:
        self.core()  # raises ValueError if settings contradict each other

    def core(self, **changes: Any) -> Config:
        """Returns the settings of the core, with the changes applied.

        Settings that the command does not have get their defaults. Raises ValueError if settings
        contradict each other.
        """
        core_settings = {
            name: getattr(self, name) for name in Config.__dataclass_fields__ if hasattr(self, name)
        }
        return Config(**core_settings | changes)

    def shown(self) -> Self:
        """Returns the settings for display and logs.

        Null learning rates are replaced by their defaults, data.source=auto and a speed.length of 0
        by what they stand for, and passwords are removed.
        """
        core = with_learning_rates(self.core())
        core = replace(core, data=replace(core.data, source=source_of(core.data)))
        groups = ("data", "teacher", "train")
        changed = {name: getattr(core, name) for name in groups if hasattr(self, name)}
        if isinstance(speed := getattr(self, "speed", None), LengthConfig):
            changed["speed"] = replace(speed, length=core.timing.length)
        return replace(self, **changed)


@dataclass(frozen=True)
class DistillSettings(Command, Config):
    """Settings of one distillation.

    Trials of a search or an ablation, and promoted students, have these settings too.
    """

    registry: RegistryConfig = field(default_factory=RegistryConfig)


@dataclass(frozen=True)
class TeacherSettings(Command):
    """Settings of a teacher's refinement."""

    seed: int = Config.seed
    device: Device = Config.device
    threads: int = Config.threads
    cache: str = Config.cache
    checkpoint_seconds: float = Config.checkpoint_seconds
    data: DataConfig = field(default_factory=DataConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    speed: SpeedConfig = field(default_factory=SpeedConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    registry: RegistryConfig = field(default_factory=RegistryConfig)


@dataclass(frozen=True)
class FinetuneSettings(Command):
    """Settings of a student's fine-tuning; `finetune` holds its loss and training."""

    seed: int = Config.seed
    device: Device = Config.device
    threads: int = Config.threads
    cache: str = Config.cache
    checkpoint_seconds: float = Config.checkpoint_seconds
    whole: bool = Config.whole
    baseline: bool = Config.baseline
    data: DataConfig = field(default_factory=DataConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    speed: SpeedConfig = field(default_factory=SpeedConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    registry: RegistryConfig = field(default_factory=RegistryConfig)

    def shown(self) -> Self:
        """See Command.shown."""
        return replace(
            super().shown(),
            finetune=replace(self.finetune, train=with_finetuning_rate(self.finetune.train)),
        )


@dataclass(frozen=True)
class SubmitSettings(Command):
    """Settings of a submission to the GLUE leaderboard."""

    device: Device = Config.device
    threads: int = Config.threads
    cache: str = Config.cache
    data: DataConfig = field(default_factory=DataConfig)
    submit: SubmitConfig = field(default_factory=SubmitConfig)


@dataclass(frozen=True)
class ExportSettings(Command):
    """Settings of a student's export. It runs on the CPU."""

    seed: int = Config.seed
    threads: int = Config.threads
    cache: str = Config.cache
    data: DataConfig = field(default_factory=DataConfig)
    speed: SpeedConfig = field(default_factory=SpeedConfig)
    export: ExportFolderConfig = field(default_factory=ExportFolderConfig)
    hub: HubConfig = field(default_factory=HubConfig)


@dataclass(frozen=True)
class AblationSettings(Command):
    """Settings of an ablation. Its trials are not timed or exported."""

    device: Device = Config.device
    threads: int = Config.threads
    cache: str = Config.cache
    checkpoint_seconds: float = Config.checkpoint_seconds
    whole: bool = Config.whole
    data: DataConfig = field(default_factory=DataConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    speed: LengthConfig = field(default_factory=LengthConfig)
    ablation: AblationConfig = field(default_factory=AblationConfig)

    def core(self, **changes: Any) -> Config:
        """Returns the settings that all trials share, before the changes of a variant.

        Trials train no hard-label twin; a variant with loss.hard_weight=1 can take its place.
        """
        untimed = {
            "speed": SpeedConfig(length=self.speed.length, seconds=0),
            "export": ExportConfig(backends=[]),
        }
        return super().core(**untimed | {"baseline": False} | changes)


@dataclass(frozen=True)
class SearchSettings(Command):
    """Settings of a search, whose trials are distillations."""

    seed: int = Config.seed
    device: Device = Config.device
    threads: int = Config.threads
    cache: str = Config.cache
    checkpoint_seconds: float = Config.checkpoint_seconds
    data: DataConfig = field(default_factory=DataConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    speed: SpeedConfig = field(default_factory=SpeedConfig)
    export: Int8Config = field(default_factory=Int8Config)
    search: SearchConfig = field(default_factory=SearchConfig)

    def core(self, **changes: Any) -> Config:
        """Returns the settings that all trials share.

        Trials use one thread unless `threads` is set, and have no twin and no exports. The latency
        and size of a trial are measured before its training.
        """
        export = ExportConfig(backends=[], weight_range=self.export.weight_range)
        return super().core(
            **{"threads": self.threads or 1, "baseline": False, "export": export} | changes
        )

    def shown(self) -> Self:
        """See Command.shown."""
        return replace(
            super().shown(),
            search=replace(self.search, storage=without_passwords(self.search.storage)),
        )


@dataclass(frozen=True)
class PromoteSettings(Command):
    """Settings of a promotion, which retrains a search's best student.

    Settings of a distillation replace those of the trial.
    """

    device: Device = Config.device
    threads: int = Config.threads
    cache: str = Config.cache
    checkpoint_seconds: float = Config.checkpoint_seconds
    baseline: bool = Config.baseline
    data: DataConfig = field(default_factory=DataConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    speed: SpeedConfig = field(default_factory=SpeedConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    registry: RegistryConfig = field(default_factory=RegistryConfig)
    promote: PromoteConfig = field(default_factory=PromoteConfig)


@dataclass(frozen=True)
class LabelSettings(Command):
    """Settings of the prediction of a corpus with Spark."""

    cache: str = Config.cache
    label: LabelConfig = field(default_factory=LabelConfig)


@dataclass(frozen=True)
class ThroughputSettings(Command):
    """Settings of a comparison of training loops."""

    seed: int = Config.seed
    device: Device = Config.device
    threads: int = Config.threads
    cache: str = Config.cache
    data: DataConfig = field(default_factory=DataConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    throughput: ThroughputConfig = field(default_factory=ThroughputConfig)


COMMANDS: dict[str, type[Command]] = {
    "distill": DistillSettings,
    "teacher": TeacherSettings,
    "finetune": FinetuneSettings,
    "submit": SubmitSettings,
    "export": ExportSettings,
    "ablation": AblationSettings,
    "search": SearchSettings,
    "promote": PromoteSettings,
    "label": LabelSettings,
    "throughput": ThroughputSettings,
}
"""Settings of each command, by the name of its module in experiments/."""


COMMON = (
    "finetune.student", "export.student", "export.to", "submit.student",
    "label.model", "label.task", "label.corpus", "label.output",
    "promote.study", "promote.budget_ms", "search.study", "search.trials", "search.workers",
    "search.budget_ms", "search.space", "ablation.variants", "ablation.seeds",
    "data.path", "data.text", "data.label", "data.kind", "data.dev", "data.tasks",
    "teacher.checkpoint", "student.kind",
    "student.hidden", "student.layers", "loss.kind", "loss.hard_weight", "train.steps",
    "train.batch_size", "train.learning_rate", "finetune.train.steps", "export.backends",
    "registry.name", "throughput.students", "seed", "device", "threads", "cache",
)  # fmt: skip
"""The settings that --help shows first, in this order: required ones, then those that are changed
most often."""


def command_of(kind: type[Command]) -> str:
    """Returns the name of the command with these settings."""
    return next(name for name, other in COMMANDS.items() if other is kind)


def with_open_length(config: DistillSettings) -> DistillSettings:
    """Returns the settings that a run has logged with a speed.length of 0 if it is the usual one.

    It then follows another data.max_length.
    """
    if config.speed.length != config.usual_length:
        return config
    return replace(config, speed=replace(config.speed, length=0))


def distill_settings(core: Config) -> DistillSettings:
    """Returns a distillation with these settings, without registration."""
    return DistillSettings(**{name: getattr(core, name) for name in Config.__dataclass_fields__})
