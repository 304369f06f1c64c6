"""The students whose settings ship, and the one that a command takes if none is asked for."""

from collections.abc import Iterator, Mapping, Set
from typing import Any

from experiments import cli
from experiments.command_line.config_files import config_file, read_config
from experiments.settings import DistillSettings
from mkd.config import TeacherConfig
from mkd.storage import pretrained

STUDENTS = ("bag", "bilstm", "transformer")
"""The students, the fastest first. Each has a shipped file of settings of its name."""
DEFAULT = STUDENTS[0]
LEFT_OUT = ("train.steps", "train.batch_size", "train.eval_every")
"""Settings of these files that are ignored, because they are for millions of rows."""


def with_default_student(
    config: DistillSettings, explicit: Set[str]
) -> tuple[DistillSettings, str]:
    """Returns the settings, with the default student for a pretrained teacher.

    It is used if `teacher.checkpoint` is given and no setting of the student, and is the default of
    `mkd.distil` too. The settings' own default, a Transformer with random weights, suits the demo.

    - `explicit`: the settings that the user has set, by dotted name. They win.

    The second value is a line for the user, or "" if nothing has changed.
    """
    if not config.teacher.checkpoint or any(name.startswith("student.") for name in explicit):
        return config, ""
    user_settings = {
        name: value
        for name, value in cli.flat(config).items()
        if any(f"{other}.".startswith(f"{name}.") for other in explicit)
    }
    if config.loss.from_labels_alone:  # no teacher is made for its embeddings alone
        user_settings["student.init"] = config.teacher.checkpoint
    config = with_student(config, DEFAULT, user_settings)
    others = " or ".join(f"--config {name}" for name in STUDENTS if name != DEFAULT)
    line = f"student: {config.student.name}, the default with teacher.checkpoint (others: {others})"
    return config, line


def with_student(
    base: DistillSettings, student: str, user_settings: Mapping[str, Any]
) -> DistillSettings:
    """Returns the settings with those of a student of STUDENTS. user_settings: settings that win.

    The sizes that a teacher limits are made to fit it.
    """
    known = cli.flat(base)
    shipped = dict(_leaves(read_config(config_file(student)), known, ""))
    kept = {name: value for name, value in shipped.items() if name not in LEFT_OUT}
    if "loss.kind" in user_settings:  # another loss does not take this one's temperature
        kept = {name: value for name, value in kept.items() if not name.startswith("loss.")}
    teachers = {name: value for name, value in user_settings.items() if name.startswith("teacher.")}
    teacher = cli.with_settings(base, teachers).teacher
    return cli.with_settings(base, kept | _sizes(teacher, student, kept) | dict(user_settings))


def _leaves(
    values: Mapping[str, Any], known: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, Any]]:
    """Yields the settings of a file by their dotted names. known: all settings."""
    for key, value in values.items():
        name = prefix + key
        if name in known:
            yield name, value
        else:
            yield from _leaves(value, known, f"{name}.")


def _sizes(teacher: TeacherConfig, student: str, shipped: Mapping[str, Any]) -> dict[str, int]:
    """Returns the sizes of a student that takes its embeddings, or its layers, from the teacher."""
    layers, hidden, heads = teacher.layers, teacher.hidden, teacher.heads
    width = hidden
    if teacher.checkpoint:
        folder = pretrained.checkpoint_folder(teacher.checkpoint, "teacher.checkpoint")
        encoder = pretrained.load_config(folder, "teacher.checkpoint")
        layers, hidden = encoder.num_hidden_layers, encoder.hidden_size
        heads, width = encoder.num_attention_heads, getattr(encoder, "embedding_size", hidden)
    if student != "transformer":
        return {"student.embedding": min(shipped["student.embedding"], width)}
    layers = min(layers, shipped["student.layers"])
    return {"student.layers": layers, "student.hidden": hidden, "student.heads": heads}
