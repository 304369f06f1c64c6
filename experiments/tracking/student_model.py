"""The pyfunc model that MLflow loads for a logged student or teacher.

MLflow runs this file. It loads the exported model if there is one, else the torch weights.
"""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException

from mkd.runtime.answers import Prediction
from mkd.runtime.inference import Student

FIELDS = ["label", "score", "probabilities", "error"]
"""Columns of all predictions."""


class StudentModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
    """Predicts raw texts.

    The input has the column `text` and, for tasks with text pairs, `text_pair`. The param `task`
    selects the task and defaults to the model's first one. With the param `min_confidence` above 0,
    texts whose answer is less probable get none.
    """

    def load_context(self, context: Any) -> None:
        """Loads the fastest export that passed its check, on all cores, or else the torch model."""
        exported = context.artifacts.get("exported")
        self.student = (
            Student.load(exported) if exported else _in_torch(Path(context.artifacts["student"]))
        )

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Returns one row a text: label, score, probabilities and error, as mkd.runtime.Prediction.

        For a multilabel task there is the column `labels` too, a list a row. With `min_confidence`
        there is the column `answered`, and the label is None where it is false. Fields that do not
        apply are None. With the param `logits`, the only column is `logits`: a list a row, or for
        regression the score in a list of one. Every text must then be valid. Raises MlflowException
        (invalid parameter, HTTP 400 from a server) for an unknown task, for a confidence that is
        not from 0 to 1, or for an invalid text if logits are requested.
        """
        inference_params = params or {}
        task = inference_params.get("task") or next(iter(self.student.heads))
        # An unknown task is rejected below, by predict or logits.
        pair = task in self.student.heads and self.student.heads[task].pair
        texts = _column(model_input, "text")
        if pair:
            texts = list(zip(texts, _column(model_input, "text_pair"), strict=True))
        try:
            if inference_params.get("logits"):
                return pd.DataFrame({"logits": self._logits(texts, task)})
            least = inference_params.get("min_confidence") or 0.0
            answers = self.student.predict(texts, task, least)
            multilabel = self.student.heads[task].multilabel
            return _prediction_frame(answers, ["labels"] * multilabel + ["answered"] * bool(least))
        except ValueError as error:
            # An MLflow server passes on the message of this exception only.
            raise MlflowException.invalid_parameter_value(str(error)) from None

    def _logits(self, texts: list[Any], task: str) -> list[list[float]]:
        """Returns the logits of all texts. Raises ValueError if any text is invalid.

        Training on logits needs every row, so no row may be missing.
        """
        logits, errors = self.student.logits(texts, task)
        bad = [f"row {place}: {error}" for place, error in enumerate(errors) if error is not None]
        if bad:
            raise ValueError(f"{len(bad)} texts have no logits, the first is {bad[0]}")
        head = self.student.heads[task]
        # Computed in float64: the scale of the labels may need more digits than float32 has.
        exact = logits.astype(float)
        rows: list[list[float]] = (exact if head.labels else exact * head.std + head.mean).tolist()
        return rows


def _prediction_frame(answers: list[Prediction], optional: list[str]) -> pd.DataFrame:
    """Converts predictions to a data frame; if there are errors, missing values are None.

    JSON cannot represent NaN, which pandas would use.

    optional: the columns that it has besides FIELDS.
    """
    frame = pd.DataFrame(answers, columns=Prediction._fields)[[*FIELDS, *optional]]
    missing = not all(answer.answered for answer in answers)
    return frame.astype(object).where(frame.notna(), None) if missing else frame


def _column(rows: pd.DataFrame, name: str) -> list[Any]:
    """Returns the values of a column, with None for missing ones or a missing column."""
    if name not in rows:
        return [None] * len(rows)
    return [
        None if missing else value
        for value, missing in zip(rows[name], rows[name].isna(), strict=True)
    ]


def _in_torch(folder: Path) -> Student:
    """Loads the torch model of the folder."""
    # Imported here because an exported student needs no torch.
    from mkd.evaluation.scoring import runtime_student
    from mkd.storage.pretrained import load_tokenizer
    from mkd.students import load_model

    return runtime_student(load_model(folder), load_tokenizer(folder, "the logged model"))


mlflow.models.set_model(StudentModel())
