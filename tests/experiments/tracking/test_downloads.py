"""Models that are downloaded from MLflow."""

from pathlib import Path

import pytest

from experiments.tracking.downloads import download_model
from tests.support.database import use_store

FLAVOR = "flavors: {{python_function: {{artifacts: {{student: {{path: {}}}}}}}}}\nrun_id: abc\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "its MLmodel is damaged"),
        ("[", "its MLmodel is damaged"),
        ("[]", "its MLmodel is damaged"),
        ("flavors: []", "its MLmodel is damaged"),
        ("\0", "its MLmodel is damaged"),
        (FLAVOR.format(3), "its MLmodel is damaged"),
        (FLAVOR.format("../../../etc"), "its MLmodel names a folder outside of the model"),
        (FLAVOR.format("/etc"), "its MLmodel names a folder outside of the model"),
        (None, "its MLmodel is damaged"),
    ],
)
def test_a_damaged_mlmodel_file_is_named(
    content: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_store(tmp_path, monkeypatch)
    folder = tmp_path / "logged"
    folder.mkdir()
    if content is not None:
        (folder / "MLmodel").write_text(content)
    with pytest.raises(ValueError, match=f"^label.model is '{folder}': {message}") as caught:
        download_model("label.model", str(folder), tmp_path / "into")
    assert "\n" not in str(caught.value)


def test_the_student_is_found_inside_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_store(tmp_path, monkeypatch)
    (tmp_path / "logged").mkdir()
    (tmp_path / "logged" / "MLmodel").write_text(FLAVOR.format("artifacts/model"))
    (tmp_path / "into").mkdir()
    model = download_model("label.model", str(tmp_path / "logged"), tmp_path / "into")
    assert model.student == model.model / "artifacts" / "model" and model.run_id == "abc"
    assert (model.model / "MLmodel").exists()
