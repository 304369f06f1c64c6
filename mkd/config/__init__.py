"""Settings of the core and their defaults, as frozen dataclasses.

Each default is written here and nowhere else. Settings that contradict each other are rejected with
a ValueError when the dataclass is built. experiments/settings.py defines the settings of registries
and searches, and lists the settings of each command.
"""

from mkd.config.checks import MOST_ROWS, MOST_THREADS, require, require_at_most, require_path
from mkd.config.data import (
    AugmentConfig,
    DataConfig,
    DemoConfig,
    Source,
    TextFileConfig,
    TransferConfig,
)
from mkd.config.exports import (
    ExportConfig,
    ExportFolderConfig,
    HubConfig,
    Int8Config,
    LengthConfig,
    SpeedConfig,
    ThroughputConfig,
)
from mkd.config.models import REFINED, Pooling, PretrainConfig, StudentConfig, TeacherConfig
from mkd.config.run import Config, Device, FinetuneConfig, Stores, SubmitConfig
from mkd.config.training import LossConfig, MatchConfig, SamplingConfig, TrainConfig

__all__ = [
    "MOST_ROWS",
    "MOST_THREADS",
    "REFINED",
    "AugmentConfig",
    "Config",
    "DataConfig",
    "DemoConfig",
    "Device",
    "ExportConfig",
    "ExportFolderConfig",
    "FinetuneConfig",
    "HubConfig",
    "Int8Config",
    "LengthConfig",
    "LossConfig",
    "MatchConfig",
    "Pooling",
    "PretrainConfig",
    "SamplingConfig",
    "Source",
    "SpeedConfig",
    "Stores",
    "StudentConfig",
    "SubmitConfig",
    "TeacherConfig",
    "TextFileConfig",
    "ThroughputConfig",
    "TrainConfig",
    "TransferConfig",
    "require",
    "require_at_most",
    "require_path",
]
