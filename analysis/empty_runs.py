"""Empty MLflow runs that a user's mistake leaves: they are marked and deleted."""

import os
from collections.abc import Sequence

from mkd.storage.addresses import without_passwords

OWN_RUN = "MLFLOW_RUN_ID"
"""The environment variable that `mlflow run` sets to the run that it has created."""


def refuse_stored_passwords(argv: Sequence[str]) -> None:
    """Raises ValueError if `mlflow run` has stored a password as a parameter of its run.

    MLflow stores each -P before the command starts, and parameters cannot be changed.
    """
    project_run_id = os.environ.get(OWN_RUN, "")
    if project_run_id and any(without_passwords(word) != word for word in argv):
        raise ValueError(
            "MLflow has stored the password that was given with -P as a parameter of run "
            f"{project_run_id}: remove it with `mlflow gc --run-ids {project_run_id}`, change the "
            "password, and give it in PGPASSWORD or ~/.pgpass"
        )


def discard_own_run(why: str) -> None:
    """Discards the run that `mlflow run` created for this command, unless the command used it.

    why: the mistake, which the run gets as its description.
    """
    if not (project_run_id := os.environ.get(OWN_RUN, "")):
        return
    import mlflow  # here: no command without a mistake needs it yet, and it takes a second
    from mlflow.exceptions import MlflowException

    client = mlflow.MlflowClient()
    try:
        run = client.get_run(project_run_id)
        if run.info.status == "RUNNING" and not run.data.metrics:
            client.set_tag(project_run_id, "mlflow.note.content", why)
            discard_run(project_run_id, "refused")
    except MlflowException:
        return  # the mistake is printed; a store that cannot be reached must not hide it


def discard_run(run_id: str, name: str) -> None:
    """Ends, renames and deletes an empty run. `mlflow gc` removes it permanently.

    It is ended first, because `mlflow run` ends a running one, which MLflow refuses for a deleted
    run.
    """
    import mlflow

    client = mlflow.MlflowClient()
    client.set_tag(run_id, "mlflow.runName", name)
    client.set_terminated(run_id, "KILLED")
    client.delete_run(run_id)
