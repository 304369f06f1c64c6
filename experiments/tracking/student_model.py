"""The MLflow model of a student or teacher, which MLflow runs to load it: an exported folder, or torch's safetensors."""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException

from mkd.runtime.inference import Prediction, Student


class StudentModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
    """Answers raw texts: columns text and, for tasks of pairs, text_pair; the task comes as the param `task`."""

    def load_context(self, context: Any) -> None:
        """The fastest export that passed its check, on all cores; where there is none, the model as it was trained."""
        exported = context.artifacts.get("exported")
        self.student = Student.load(exported) if exported else _in_torch(Path(context.artifacts["student"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """A row a text: label, score, probabilities and error, as mkd.runtime.Prediction; None for what a row has not.

        With the param `logits` only these: a list a row, of a regression its score. A text without any is an error then.
        Raises MlflowException of an invalid parameter, which a server answers with 400, also for an unknown task.
        """
        given = params or {}
        task = given.get("task") or next(iter(self.student.heads))
        pair = task in self.student.heads and self.student.heads[task].pair
        texts = _column(model_input, "text")
        if pair:
            texts = list(zip(texts, _column(model_input, "text_pair"), strict=True))
        try:
            if given.get("logits"):
                return pd.DataFrame({"logits": self._logits(texts, task)})
            return _table(self.student.predict(texts, task))
        except ValueError as error:
            # The message of any other exception is left out of a server's answer.
            raise MlflowException.invalid_parameter_value(str(error)) from None

    def _logits(self, texts: list[Any], task: str) -> list[list[float]]:
        """Raises ValueError where a text has none: whoever learns from them has a use for all rows only."""
        logits, errors = self.student.logits(texts, task)
        bad = [f"row {place}: {error}" for place, error in enumerate(errors) if error is not None]
        if bad:
            raise ValueError(f"{len(bad)} texts have no logits, the first is {bad[0]}")
        head = self.student.heads[task]
        # In float64 before it is put on the labels' scale, which may need more digits than float32 has.
        exact = logits.astype(float)
        found: list[list[float]] = (exact if head.labels else exact * head.std + head.mean).tolist()
        return found


def _table(answers: list[Prediction]) -> pd.DataFrame:
    """With errors among them, what is missing is None instead of pandas' NaN, which JSON has no word for."""
    found = pd.DataFrame(answers, columns=Prediction._fields)
    return found.astype(object).where(found.notna(), None) if found["error"].notna().any() else found


def _column(rows: pd.DataFrame, name: str) -> list[Any]:
    """The column's values, None where there is none."""
    if name not in rows:
        return [None] * len(rows)
    return [None if missing else value for value, missing in zip(rows[name], rows[name].isna(), strict=True)]


def _in_torch(folder: Path) -> Student:
    # Imported here: an exported student needs no torch.
    from mkd.evaluation.scoring import at_work
    from mkd.storage.pretrained import load_tokenizer
    from mkd.students import load_model

    return at_work(load_model(folder), load_tokenizer(folder, "the logged model"))


mlflow.models.set_model(StudentModel())
