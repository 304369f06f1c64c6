"""The settings of each command: what it reads, and nothing else, is accepted, shown and logged by it.

What trains and measures has its settings in mkd/config.py; here are those of registries, searches and Spark, and which command
has which.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from mkd.config import (
    Config,
    DataConfig,
    DeliveryConfig,
    Device,
    ExportConfig,
    FinetuneConfig,
    Int8Config,
    LengthConfig,
    LossConfig,
    SpeedConfig,
    StudentConfig,
    SubmitConfig,
    TeacherConfig,
    ThroughputConfig,
    TrainConfig,
    check,
)
from mkd.rates import finetuned, resolved


@dataclass(frozen=True)
class RegistryConfig:
    """Where the model that a run logs is registered in MLflow."""

    name: str = ""
    """The registered model that it becomes a version of; empty: none."""
    alias: str = ""
    """An alias that points to the version from then on, such as `champion`."""

    def __post_init__(self) -> None:
        check(not re.search("[/:]", self.name), "registry.name", self.name, "a name without / and :")
        check(self.name != "" or self.alias == "", "registry.alias", self.alias, "empty without registry.name")
        plain = re.fullmatch(r"[\w-]*", self.alias) and not re.fullmatch(r"v\d+|latest", self.alias, re.IGNORECASE)
        check(bool(plain), "registry.alias", self.alias, "letters, digits, _ and -; not a version's number or latest")


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
            check(valid, "ablation.variants", name, "names of letters, digits, blanks and any of _ . -")
            for setting in settings:
                known = setting.startswith(("data.", "teacher.", "student.", "loss.", "train."))
                check(known, f"ablation.variants.{name}", setting, "dotted names of data, teacher, student, loss and train")
        check(len(self.seeds) > 0, "ablation.seeds", self.seeds, "at least one")
        check(all(0 <= seed < 2**32 for seed in self.seeds), "ablation.seeds", self.seeds, "from 0 to 2**32 - 1")
        check(len(set(self.seeds)) == len(self.seeds), "ablation.seeds", self.seeds, "each seed once")


@dataclass(frozen=True)
class PruningConfig:
    """When a search stops a trial before its end (experiments/studies/pruning.py)."""

    margin: float = 5.0
    """Points of the mean score on the selection split by which one that is at least as fast has to be ahead at the same step.
    0: the first that is ahead at all stops it."""
    warmup: float = 0.5
    """Share of train.steps before which no trial is stopped, as large students start slowly; 1: none ever is."""

    def __post_init__(self) -> None:
        check(0 <= self.margin < float("inf"), "search.pruning.margin", self.margin, "0 or more")
        check(0 <= self.warmup <= 1, "search.pruning.warmup", self.warmup, "from 0 to 1")


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
    """What is searched: settings by their dotted names (experiments/studies/space.py)."""
    start: list[dict[str, Any]] = field(default_factory=list)
    """Settings that are tried first; what the space has and they leave out is drawn."""
    start_from: str = ""
    """Another study in the same storage whose finished trials this one begins with, as far as they lie in its space."""
    trials: int = 30
    """Trials in all, those of start_from not counted."""
    workers: int = 1
    """Processes here that make trials, of one thread each unless `threads` says otherwise."""
    engine: Literal["processes", "spark"] = "processes"
    """spark: the workers are Spark's, and the study is kept in MLflow (experiments/on_spark/engine.py)."""
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
    budget_parameters: float | None = None
    """The same for the number of its parameters, embeddings included."""
    pruning: PruningConfig = field(default_factory=PruningConfig)
    heartbeat_seconds: int = 20
    """A worker tells the storage so often that it is alive; one that is silent for three times as long has its trial retried."""

    def __post_init__(self) -> None:
        check(bool(re.fullmatch(r"[\w .-]+", self.study)), "search.study", self.study, "letters, digits, blanks and any of _ . -")
        known = re.match(r"sqlite:///[^:]|postgresql://.", self.storage) is not None  # a study in memory has one process
        check(
            known, "search.storage", without_password(self.storage), "sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
        )
        for name in ("trials", "workers", "heartbeat_seconds"):
            check(getattr(self, name) > 0, f"search.{name}", getattr(self, name), "above 0")
        check(self.objectives[:1] == ["quality"], "search.objectives", self.objectives, "quality first")
        check(len(set(self.objectives)) == len(self.objectives), "search.objectives", self.objectives, "each once")
        for name in ("budget_ms", "budget_parameters"):
            value = getattr(self, name)
            check(value is None or 0 < value < float("inf"), f"search.{name}", value, "above 0, or null")
        check(self.start_from != self.study, "search.start_from", self.start_from, "another study than search.study")
        plain = self.engine == "processes" or not (self.start or self.start_from)
        check(plain, "search.engine", self.engine, "processes, for search.start and search.start_from")


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
        check(self.budget_ms is None or self.budget_ms > 0, "promote.budget_ms", self.budget_ms, "above 0, or null")
        check(len(self.seeds) > 0, "promote.seeds", self.seeds, "at least one")
        check(all(0 <= seed < 2**32 for seed in self.seeds), "promote.seeds", self.seeds, "from 0 to 2**32 - 1")
        check(len(set(self.seeds)) == len(self.seeds), "promote.seeds", self.seeds, "each seed once")


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
        check(one_file or not self.logits, "label.output", self.output, "a file that ends in .parquet, for label.logits=true")
        check(self.master != "", "label.master", self.master, "local[*], local[N] or the address of a cluster's master")


@dataclass(frozen=True)
class Command:
    """What all commands' settings are."""

    def __post_init__(self) -> None:
        self.core()  # which refuses what does not go together

    def core(self, **changes: Any) -> Config:
        """The core's settings, with the changes; those that the command does not have are as they are by default."""
        own = {name: getattr(self, name) for name in Config.__dataclass_fields__ if hasattr(self, name)}
        if isinstance(data := own.get("data"), DataConfig) and "speed" not in own:  # of what is not timed no length is refused
            own["speed"] = SpeedConfig(length=min(SpeedConfig.length, data.max_length))
        return Config(**own | changes)

    def shown(self) -> Self:
        """As they may be shown and kept: with a number for each learning rate that is open, and without a password."""
        core = resolved(self.core())
        return replace(self, **{name: getattr(core, name) for name in ("teacher", "train") if hasattr(self, name)})


@dataclass(frozen=True)
class Distill(Command, Config):
    """One distillation, also as a trial of a search or an ablation, or one that is promoted."""

    registry: RegistryConfig = field(default_factory=RegistryConfig)


@dataclass(frozen=True)
class Teacher(Command):
    """One teacher's refinement."""

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
class Finetune(Command):
    """Further training of a student, whose loss and training are those of `finetune`."""

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
        """As Command.shown."""
        return replace(super().shown(), finetune=replace(self.finetune, train=finetuned(self.finetune.train)))


@dataclass(frozen=True)
class Submit(Command):
    """A student's answers for GLUE's leaderboard."""

    device: Device = Config.device
    threads: int = Config.threads
    cache: str = Config.cache
    data: DataConfig = field(default_factory=DataConfig)
    submit: SubmitConfig = field(default_factory=SubmitConfig)


@dataclass(frozen=True)
class Export(Command):
    """A saved student in a folder that runs anywhere; it works on the CPU."""

    seed: int = Config.seed
    threads: int = Config.threads
    cache: str = Config.cache
    data: DataConfig = field(default_factory=DataConfig)
    speed: SpeedConfig = field(default_factory=SpeedConfig)
    export: DeliveryConfig = field(default_factory=DeliveryConfig)


@dataclass(frozen=True)
class Ablation(Command):
    """Variants of a distillation over seeds, none of which is timed or exported."""

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
        """The settings of a trial that is no variant yet: a hard-label twin is a variant of its own."""
        untimed = {"speed": SpeedConfig(length=self.speed.length, seconds=0), "export": ExportConfig(backends=[])}
        return super().core(**untimed | {"baseline": False} | changes)


@dataclass(frozen=True)
class Search(Command):
    """A study whose trials are distillations."""

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
        """The settings that all trials have in common: one thread unless the command says otherwise, no twin, no exports.

        What a trial costs is measured beforehand.
        """
        export = ExportConfig(backends=[], weight_range=self.export.weight_range)
        return super().core(**{"threads": self.threads or 1, "baseline": False, "export": export} | changes)

    def shown(self) -> Self:
        """As Command.shown."""
        return replace(super().shown(), search=replace(self.search, storage=without_password(self.search.storage)))


@dataclass(frozen=True)
class Promote(Command):
    """A search's best student, trained anew: settings of a distillation that take the place of the trial's, and its own."""

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
class Label(Command):
    """A corpus's answers, on Spark."""

    cache: str = Config.cache
    label: LabelConfig = field(default_factory=LabelConfig)


@dataclass(frozen=True)
class Throughput(Command):
    """Training loops beside each other."""

    seed: int = Config.seed
    device: Device = Config.device
    threads: int = Config.threads
    cache: str = Config.cache
    data: DataConfig = field(default_factory=DataConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    throughput: ThroughputConfig = field(default_factory=ThroughputConfig)


COMMANDS: dict[str, type[Command]] = {
    "distill": Distill, "teacher": Teacher, "finetune": Finetune, "submit": Submit, "export": Export, "ablation": Ablation,
    "search": Search, "promote": Promote, "label": Label, "throughput": Throughput,
}  # fmt: skip
"""By the name of its module in experiments/."""


def command_of(kind: type[Command]) -> str:
    """The name of the command that has these settings."""
    return next(name for name, other in COMMANDS.items() if other is kind)


def distillation(core: Config) -> Distill:
    """The distillation of these settings, registered nowhere."""
    return Distill(**{name: getattr(core, name) for name in Config.__dataclass_fields__})
