"""One call for a notebook: searches for the best student at each latency, and draws the front.

    import mkd

    found = mkd.search(frame, teacher="sentence-transformers/all-MiniLM-L6-v2")
    found                        # the students on the front, and a picture of all
    found.students               # a row for each student

It is `mkd search --config quick` on any data that `mkd.distil` takes.
`mkd.search` is this function.
"""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from experiments import cli
from experiments.notebook import data_settings, picture_html, quiet, shown_in_notebooks
from experiments.search import search as run_search
from experiments.settings import SearchSettings
from experiments.tracking.outputs import Outputs
from experiments.tracking.searches import STUDY_FILE
from mkd import names
from mkd.storage.store import key_of

CONFIG = "quick"
"""The shipped settings of the search."""


class Searched:
    """The result of `search`. Scores are in points from 0 to 100.

    - `students`: a row for each trained student, the fastest first: its score on the selection
      split and on dev, median milliseconds for one text on one thread, and whether it is on the
      front, so that no other one is both faster and better on the selection split.
    - `conclusion`: a sentence on the front.
    - `study`: the name that `mkd promote --promote.study` takes to train one in full.
    - `settings`: all settings. `run_id`: of the search's run in MLflow.
    """

    def __init__(self, settings: SearchSettings, outputs: Outputs, run_id: str) -> None:
        self.settings, self.run_id, self.study = settings, run_id, settings.search.study
        self.conclusion = outputs.conclusion
        self.students = student_frame(outputs.jsons[STUDY_FILE])
        self._figure = outputs.figures["front.png"]

    def plot(self) -> Figure:
        """Returns the picture: score on the selection split against latency, with the front."""
        return shown_in_notebooks(self._figure)

    def to_html(self) -> str:
        """Returns sentence, front and picture as HTML that needs no other file."""
        front = self.students[self.students["front"]].drop(columns="front")
        return "\n".join(
            [
                f"<p>{html.escape(self.conclusion)}</p>",
                front.to_html(index=False, float_format="{:.3g}".format),
                picture_html(self._figure, "score against latency of all students"),
            ]
        )

    def _repr_html_(self) -> str:
        return self.to_html()

    def __repr__(self) -> str:
        return f"{self.conclusion}\n{self.students.to_string(index=False)}"


def search(
    data: Any,
    teacher: str,
    *,
    trials: int = 8,
    settings: Mapping[str, Any] | None = None,
) -> Searched:
    """Trains students from small to large, and measures the score and the latency of each.

    - `data`: as in `mkd.distil`.
    - `teacher`: folder or hub name of a pretrained encoder.
    - `trials`: number of students. The first eight are given; more are drawn from the space.
    - `settings`: other settings by their dotted names, such as `{"search.workers": 1}`.

    The search is recorded in MLflow, and its study is named after data, teacher and settings
    (unless `search.study` is set). So the same call continues a search that was interrupted, and a
    call with more trials adds to it.

    Raises ValueError for data that cannot be understood and settings that do not fit together.
    """
    with quiet():
        config = search_settings(data, teacher, trials, dict(settings or {}))
        finished = run_search(config)
    return Searched(config, finished.made, finished.run_id)


def search_settings(
    data: Any, teacher: str, trials: int, user_settings: dict[str, Any]
) -> SearchSettings:
    """Returns the settings of a search; see `search`. Rows in memory are written to the cache."""
    base = cli.parse(["--config", CONFIG], "", SearchSettings)
    cache = user_settings.get("cache", base.cache)
    described = data_settings(data, Path(cache)) | {"teacher.checkpoint": teacher} | user_settings
    study = f"{CONFIG}-{key_of(described)[:8]}"
    own = {"search.study": study, "search.trials": trials}
    return cli.with_settings(base, own | described)


def student_frame(study: Mapping[str, Any]) -> pd.DataFrame:
    """Returns the trained students of a study's JSON, the fastest first."""
    on_front = {point["number"] for point in study["front"]}
    rows = [
        # A trial's name ends with its latency, which has a column.
        (
            trial["name"].rpartition(" ")[0],
            trial["quality"],
            trial["dev"],
            trial["latency_ms"],
            trial["number"] in on_front,
        )
        for trial in sorted(study["trials"], key=lambda trial: trial["latency_ms"] or 0.0)
        if trial["state"] == names.STATE_COMPLETE
    ]
    return pd.DataFrame(rows, columns=["student", "selection", "dev", "ms a text", "front"])
