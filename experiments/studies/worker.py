"""One worker process of a search: the loop that runs trials until the study has enough."""

import multiprocessing
import signal
import sys
import time
from functools import partial

import optuna
import transformers
from filelock import FileLock, Timeout
from optuna.trial import TrialState

from experiments.signals import end_on_signals
from experiments.studies.locks import request_lock
from experiments.studies.objective import StudyObjective, WorkerJob
from experiments.studies.retry import fail_run_of, retry_lost_trials
from experiments.studies.sampler import SeededSampler
from experiments.studies.storage import open_with_retries, storage_outages_named
from experiments.studies.trial_results import first_failure, own_trials
from experiments.tracking.store import NOTE_SECONDS, note, store_errors
from experiments.tracking.trials import start_worker
from mkd.storage.addresses import one_line


def work(job: WorkerJob) -> None:
    """Runs trials until the study has enough of them, or until too many in a row have failed.

    SIGTERM ends the worker at once. Its current trial is put back into the study, to be resumed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles Ctrl-C
    end_on_signals(_stop_on_sigterm, KeyboardInterrupt)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    start_worker(job.tracking)
    try:
        with store_errors(), storage_outages_named(job.config.search):
            _run_trials(job)
    except ConnectionError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(2)


def _run_trials(job: WorkerJob) -> None:
    """Opens the study, and runs trials until it has enough."""
    search = job.config.search
    study = optuna.load_study(
        study_name=search.study,
        storage=open_with_retries(search, fail_run_of),
        sampler=SeededSampler(search, job.config.seed),
    )
    lock, objective = request_lock(job.config), StudyObjective(job)
    try:
        while _needs_trial(study, job, lock):
            # One trial at a time: the lock is needed before each one.
            try:
                study.optimize(partial(objective, lock.release), n_trials=1, catch=(Exception,))
            except ValueError:
                if not objective.taken:
                    raise
    except KeyboardInterrupt:
        pass
    finally:
        lock.release(force=True)


def _needs_trial(study: optuna.Study, job: WorkerJob, lock: FileLock) -> bool:
    """Returns whether another trial has to be run. If so, the lock is held on return.

    A worker without a trial waits until the other workers have finished. If one of them dies, its
    trial is queued again and this worker runs it.
    """
    while _is_acquired(lock):
        trials = own_trials(study)
        if first_failure(trials, job.began) is not None:
            return False
        states = {trial.state for trial in trials}
        if len(trials) < job.config.search.trials or TrialState.WAITING in states:
            return True
        lock.release()
        if TrialState.RUNNING not in states:
            return False
        time.sleep(1)
        retry_lost_trials(study)
    return False


def _is_acquired(lock: FileLock) -> bool:
    """Waits for the lock, and returns whether it is held: not if the parent process has ended.

    A note is printed every NOTE_SECONDS, as the worker that holds the lock may be suspended.
    """
    parent, begin = multiprocessing.parent_process(), time.monotonic()
    # A worker must not outlive the command that started it.
    while parent is None or parent.is_alive():
        try:
            lock.acquire(timeout=NOTE_SECONDS)
        except Timeout:
            note(
                f"waiting for {lock.lock_file} since {time.monotonic() - begin:.0f} seconds: "
                "another worker of the study holds it; is it suspended?"
            )
        else:
            return True
    return False


def _stop_on_sigterm(number: int, frame: object) -> None:
    """Handles SIGTERM: ends the worker, and ignores further signals."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the clean-up
    raise KeyboardInterrupt
