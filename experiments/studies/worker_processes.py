"""The worker processes of a search on this machine: starts, shows and stops them."""

import multiprocessing
import platform
import signal
import sys
from multiprocessing import connection, forkserver
from multiprocessing.process import BaseProcess

import optuna
from optuna.trial import TrialState

from experiments.settings import SearchSettings
from experiments.studies.attributes import PROGRESS
from experiments.studies.objective import WorkerJob
from experiments.studies.trial_results import own_trials
from experiments.studies.worker import work
from mkd import progress

SHOW_SECONDS = 1
"""Seconds between two looks at the progress of a search."""
EXIT_SECONDS = 60
"""Seconds that workers have to exit after SIGTERM before they are killed."""


def check_forks() -> None:
    """Raises ValueError on a system without multiprocessing's fork server, such as Windows."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        raise ValueError(
            f"search.engine is 'processes'; allowed on {platform.system()}, which cannot fork "
            "processes: spark; on Windows, WSL has them"
        )


def start_fork_server() -> None:
    """Starts multiprocessing's fork server, from which the workers are forked.

    It imports the slow libraries once for all workers, while this process prepares the teacher.
    """
    multiprocessing.set_forkserver_preload(["experiments.studies.worker"])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: this command handles Ctrl-C
    forkserver.ensure_running()
    signal.signal(signal.SIGINT, before)


def run_trials(job: WorkerJob, optuna_study: optuna.Study) -> None:
    """Starts the workers, shows the progress of the search, and stops the workers when it ends."""
    search, context = job.config.search, multiprocessing.get_context("forkserver")
    workers: list[BaseProcess] = [
        context.Process(target=work, args=(job,)) for _ in range(search.workers)
    ]
    try:
        for worker in workers:
            worker.start()
        print(
            f"process ids of the workers: {', '.join(str(worker.pid) for worker in workers)}",
            flush=True,
        )
        with progress.job_bar(search.trials, "trial") as show:
            while alive := [worker.sentinel for worker in workers if worker.is_alive()]:
                _show_progress(show, optuna_study, job.config)
                connection.wait(alive, SHOW_SECONDS)
            _show_progress(show, optuna_study, job.config)
    finally:
        _stop(workers)
    if lost := sum(worker.exitcode != 0 for worker in workers):
        print(f"{lost} of {len(workers)} workers died", file=sys.stderr)


def _show_progress(show: progress.Show, optuna_study: optuna.Study, config: SearchSettings) -> None:
    """Shows the number of finished trials, plus the finished fractions of the running ones.

    Beside the bar: the progress of running trials, and the best score on the selection split.
    """
    trials = own_trials(optuna_study)
    ended = [trial for trial in trials if trial.state.is_finished()]
    scores = {
        trial.number: trial.user_attrs.get(PROGRESS, {}).get("scores", {}) for trial in trials
    }
    running = [
        min(1.0, max(map(int, scores[trial.number]), default=0) / config.train.steps)
        for trial in trials
        if trial.state == TrialState.RUNNING
    ]
    best = max((value for of in scores.values() for value in of.values()), default=None)
    text = progress_text(len(ended), config.search.trials, running, best)
    show(0, text, min(len(ended) + sum(running), config.search.trials))


def progress_text(ended: int, wanted: int, running: list[float], best: float | None) -> str:
    """Returns the progress of a search, such as `3 of 30 trials ended, 2 running (40 %, 10 %)`.

    running: the finished share of each running trial. best: the best score on the selection split.
    """
    text = f"{ended} of {wanted} trials ended"
    if running:
        shares = ", ".join(f"{100 * share:.0f} %" for share in running)
        text += f", {len(running)} running ({shares})"
    return text if best is None else f"{text}, best selection score {best:.1f}"


def _stop(workers: list[BaseProcess]) -> None:
    """Stops the workers: SIGTERM, then, after EXIT_SECONDS, SIGKILL."""
    for worker in workers:
        if worker.is_alive():
            worker.terminate()
    for worker in workers:
        if worker.pid is not None:
            worker.join(EXIT_SECONDS)
            worker.kill()  # does nothing if the worker has exited
