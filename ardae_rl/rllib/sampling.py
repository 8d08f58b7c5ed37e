"""Episode chunks from all env runners; those in processes of their own sample the next ones while the learner learns.

Actions of a chunk sampled ahead are those of the policy before the latest updates, which off-policy learning does not mind. Chunks come in
the order of the runners, so a seed still gives the same numbers. A runner that hangs is killed.
"""

import logging
import time
from collections import Counter
from operator import itemgetter
from typing import Any

import ray
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from ardae_rl.rllib.env_runner import SeededEnvRunner
from ardae_rl.run.ray_internals import runner_actor

logger = logging.getLogger(__name__)
_TAG = "sample"
_MAX_FAILURES = 3  # of one runner in a row: a single one may be an accident of the simulator
_MAX_SECONDS_OF_SILENCE = 600.0  # of one runner
_MAX_SECONDS_WITHOUT_STEPS = 900.0  # a machine that takes the place of a lost one may need minutes to come up


class EnvRunnerError(RuntimeError):
    """An env runner that fails again and again, or env runners of which none comes back."""


class Sampling:
    """The training env runners of one algorithm. ``timeout_s``: how long :meth:`collect` waits for the slowest."""

    def __init__(self, group: EnvRunnerGroup, *, timeout_s: float) -> None:
        self._group, self._timeout_s = group, timeout_s
        self._alive = group.num_remote_workers()
        self._failures_in_a_row: Counter[int] = Counter()
        self._silent_rounds: Counter[int] = Counter()
        self._failures = self._timeouts = 0
        self._empty_since: float | None = None

    def collect(self, *, ahead: bool) -> tuple[list[SingleAgentEpisode], list[dict[str, Any]]]:
        """Chunks, and metrics by runner. With ``ahead`` the runners then go on at once. Nothing comes where all are down at the moment.

        Raises EnvRunnerError where a runner failed three times in a row, with what was raised, or if nothing came for 15 minutes.
        """
        results = self._from_others(ahead) if self._group.num_remote_workers() else [(0, self._group.local_env_runner.try_sample())]
        sampled = [result for runner, result in results if self._is_sampled(runner, result)]
        self._check_time(bool(sampled))
        return [episode for episodes, _ in sampled for episode in episodes], [metrics for _, metrics in sampled]

    def _from_others(self, ahead: bool) -> list[tuple[int, Any]]:
        self._request()
        results = self._fetch()
        self._tell_of_silence()
        self._end_silence({runner for runner, _ in results})
        if ahead:
            self._request()
        self._tell_of_deaths()
        return results

    def discard(self) -> None:
        """Forget what was sampled ahead."""
        self._fetch()

    def _request(self) -> None:
        """From every runner that is there and not at it already."""
        self._group.foreach_env_runner_async(SeededEnvRunner.try_sample, tag=_TAG)

    def _fetch(self) -> list[tuple[int, Any]]:
        return sorted(self._group.fetch_ready_async_reqs(tags=_TAG, timeout_seconds=self._timeout_s), key=itemgetter(0))

    def _is_sampled(self, runner: int, result: Any) -> bool:
        if not isinstance(result, str):
            self._failures_in_a_row[runner] = 0
            return True
        self._failures_in_a_row[runner] += 1
        self._failures += 1
        if self._failures.bit_count() == 1:  # the first, the second, the fourth, the eighth, ...
            cause = result.strip().rpartition("\n")[2]
            logger.warning("env runner %d failed (%s) and its environments were reset: failure %d", runner, cause, self._failures)
        if self._failures_in_a_row[runner] >= _MAX_FAILURES:
            raise EnvRunnerError(f"env runner {runner} failed {_MAX_FAILURES} times in a row, at last with:\n{result}")
        return False

    def _tell_of_silence(self) -> None:
        silent = self._group.num_in_flight_async_reqs(_TAG)
        self._timeouts += bool(silent)
        if silent and self._timeouts.bit_count() == 1:
            logger.warning("%d env runners have not made a step within %g s: waiting for them", silent, self._timeout_s)

    def _end_silence(self, heard: set[int]) -> None:
        """Kill runners whose environments hang, for Ray to start them again. What counts is the time waited for them."""
        silent = set(self._group.healthy_worker_ids()) - heard
        self._silent_rounds = Counter({runner: self._silent_rounds[runner] + 1 for runner in silent})
        for runner in silent:
            if self._silent_rounds[runner] * self._timeout_s >= _MAX_SECONDS_OF_SILENCE:
                logger.warning("env runner %d has not made a step for %g minutes: killed", runner, _MAX_SECONDS_OF_SILENCE / 60)
                ray.kill(runner_actor(self._group, runner), no_restart=False)
                self._silent_rounds[runner] = 0

    def _tell_of_deaths(self) -> None:
        before, self._alive = self._alive, self._group.num_healthy_remote_workers()
        if self._alive != before:
            count = self._group.num_remote_workers()
            logger.warning("%d of %d env runners are there, %d were before: Ray restarts those that died", self._alive, count, before)

    def _check_time(self, made_steps: bool) -> None:
        """Since the first time that nothing came: in between, the learner may have been at it, or the disk away, for long."""
        now = time.monotonic()
        self._empty_since = None if made_steps else self._empty_since or now
        if self._empty_since is not None and now - self._empty_since > _MAX_SECONDS_WITHOUT_STEPS:
            raise EnvRunnerError(
                f"none of {self._group.num_remote_workers()} env runners has made a step for {_MAX_SECONDS_WITHOUT_STEPS / 60:g} minutes, "
                f"and {self._group.num_healthy_remote_workers()} are there. Have their processes enough memory, and machines to run on?"
            )
