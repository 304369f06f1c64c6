"""The sampler of a search: its draws depend on the seed and the number of a trial alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from experiments.settings import SearchConfig


class SeededSampler(BaseSampler):
    """Samples each trial with a seed made of the search's seed and the trial's number alone.

    A study that was stopped and resumed therefore draws the same as one that was not. With several
    workers, TPE also depends on which trials have finished by then.
    """

    def __init__(self, config: SearchConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        self.trial_sampler: BaseSampler = RandomSampler(seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        seed = int(np.random.SeedSequence([self.seed, trial.number]).generate_state(1)[0])
        self.trial_sampler = (
            TPESampler(seed=seed) if self.config.sampler == "tpe" else RandomSampler(seed)
        )
        # A sampler that is made anew for each trial has no state that a restart could lose.
        self.trial_sampler.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self.trial_sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.trial_sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self.trial_sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self.trial_sampler.after_trial(study, trial, state, values)
