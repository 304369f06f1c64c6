"""Settings of speed measurements and exports."""

from dataclasses import dataclass, field
from typing import Literal

from mkd.config.checks import MOST_THREADS, require, require_at_most

USUAL_LENGTH = 128
"""Tokens of the row that is timed, if neither speed.length nor data.max_length says otherwise."""


@dataclass(frozen=True)
class LengthConfig:
    """Length of the row for which FLOPs are counted."""

    length: int = 0
    """Length in tokens. The latency without tokenization is measured on the same length.

    0: 128, or data.max_length if that is smaller. A length above data.max_length is refused.
    """

    def __post_init__(self) -> None:
        require_at_most(self, "speed", length=1 << 15)
        require(self.length >= 0, "speed.length", self.length, "0 or more")


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
    """Range of the int8 weights. full: 8 bits. reduced: 7 bits, which is faster on x86
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
    """Required. The student: a folder, `runs:/RUN_ID/student` (logged) or `models:/NAME@ALIAS`
    (registered).
    """
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
