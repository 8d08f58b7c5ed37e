"""The Learner: restore equals run-through bit for bit, two learners equal one, and RLlib sees every optimiser."""

import math
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.core import COMPONENT_LEARNER, DEFAULT_MODULE_ID
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from ardae_rl.rllib import SACARDAEConfig
from ardae_rl.rllib.learner import SACARDAETorchLearner, _over_updates
from ardae_rl.rllib.transitions import learner_by_learner
from ardae_rl.sac.update import SKIPPED
from tests.rllib.small import small_config

SPACES = (gym.spaces.Box(-np.inf, np.inf, (3,), np.float32), gym.spaces.Box(-1, 1, (2,), np.float32))


def columns(count: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "obs": rng.normal(size=(count, 3)).astype(np.float32),
        "new_obs": rng.normal(size=(count, 3)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (count, 2)).astype(np.float32),
        "rewards": rng.normal(size=count).astype(np.float32),
        "terminateds": (rng.random(count) < 0.1).astype(np.float32),
    }


def batch_of(data: dict[str, np.ndarray]) -> MultiAgentBatch:
    return MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(data)}, env_steps=len(data["rewards"]))


def make_learner(config: SACARDAEConfig) -> SACARDAETorchLearner:
    config.validate()
    learner = config.build_learner(spaces={DEFAULT_MODULE_ID: SPACES})
    learner.build()
    return learner


def weights(learner: SACARDAETorchLearner) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in learner.module[DEFAULT_MODULE_ID].state_dict().items()}


@pytest.mark.parametrize("policy", ["gaussian", "radial", "spline", "implicit"])
def test_update_save_restore_update_equals_an_uninterrupted_run_bit_for_bit(policy: str, tmp_path: Path) -> None:
    config = small_config(policy, alpha="auto", target_calibration=True)
    straight, first = make_learner(config.copy()), make_learner(config.copy())
    for seed in (1, 2):
        straight.update(batch=batch_of(columns(48, seed)))
    first.update(batch=batch_of(columns(48, 1)))
    first.save_to_path(tmp_path / "learner")
    second = make_learner(config.copy())
    second.restore_from_path(tmp_path / "learner")
    second.update(batch=batch_of(columns(48, 2)))
    for name, value in weights(straight).items():
        assert torch.equal(weights(second)[name], value), name


def test_the_moments_of_the_policys_draws_are_in_a_learners_checkpoint(tmp_path: Path) -> None:
    """And that they are about the learned mean, so that a score is not asked for in other coordinates."""
    learner, resumed = make_learner(small_config()), make_learner(small_config())
    learner.update(batch=batch_of(columns(48, 1)))
    learner.save_to_path(tmp_path / "learner")
    resumed.restore_from_path(tmp_path / "learner")
    ours, theirs = (each.module[DEFAULT_MODULE_ID].learner_networks.entropy.estimator for each in (learner, resumed))
    assert theirs.moments.count == 3, "one fit for each mini-batch of 16"
    assert not torch.allclose(theirs.moments.covariance, torch.eye(2, dtype=torch.float64), atol=0.01)
    for name, value in ours.named_buffers():
        assert torch.equal(theirs.get_buffer(name), value), name
    with pytest.raises(ValueError, match="centre was not given to the loss and is given here"):
        theirs.frame(context=torch.zeros(1, 3), centre=torch.zeros(1, 2))


def test_restoring_without_the_noise_generator_would_differ() -> None:
    """The bit-for-bit test above can fail: two learners with the same weights but different noise part ways."""
    one, other = make_learner(small_config()), make_learner(small_config())
    other.noise_generator.manual_seed(99)
    for learner in (one, other):
        learner.update(batch=batch_of(columns(16, 1)))
    assert not torch.equal(weights(one)["policy.out.weight"], weights(other)["policy.out.weight"])


def test_noise_is_not_made_of_the_random_bits_of_the_initial_weights() -> None:
    """RLlib seeds torch with the config's seed, and makes the networks next."""
    learner = make_learner(small_config(seed=3))
    noise = torch.randn(1000, generator=learner.noise_generator)
    assert not torch.equal(noise, torch.randn(1000, generator=torch.Generator().manual_seed(3)))


def test_a_flow_keeps_its_own_step_size_through_updates_and_restore(tmp_path: Path) -> None:
    config = small_config("radial", actor_lr=1e-3, flow_lr=1e-4)
    learner, restored = make_learner(config.copy()), make_learner(config.copy())
    learner.update(batch=batch_of(columns(32, 1)))
    learner.save_to_path(tmp_path / "learner")
    restored.restore_from_path(tmp_path / "learner")
    restored.update(batch=batch_of(columns(32, 2)))
    for each in (learner, restored):
        assert [group["lr"] for group in each.sac.optimisers["actor"].optimiser.param_groups] == [1e-3, 1e-4]


def test_rllib_holds_one_optimiser_per_loss() -> None:
    learner = make_learner(small_config("implicit", alpha="auto"))
    names = {name.removeprefix(DEFAULT_MODULE_ID + "_") for name in learner.get_state()["optimizer"]}
    assert names == {"score", "critic", "actor", "temperature"}


def test_k_mini_batches_in_one_call_equal_k_calls() -> None:
    together, apart = make_learner(small_config()), make_learner(small_config())
    data = columns(48, 3)
    together.update(batch=batch_of(data))
    for i in range(3):
        apart.update(batch=batch_of({name: column[16 * i : 16 * (i + 1)] for name, column in data.items()}))
    for name, value in weights(together).items():
        assert torch.equal(weights(apart)[name], value), name


def test_a_metric_is_the_mean_over_the_updates_that_have_it() -> None:
    """With a delayed policy not all have it; NaN stays NaN."""
    one, two, three = ({"critic_loss": torch.tensor(each), SKIPPED: torch.tensor(each)} for each in (1.0, 2.0, 6.0))
    one["actor_loss"], three["actor_loss"], two["q_mean"] = torch.tensor(4.0), torch.tensor(8.0), torch.tensor(math.nan)
    found = _over_updates([one, two, three])
    assert math.isnan(found.pop("q_mean"))
    assert found == {"critic_loss": 3.0, "actor_loss": 6.0, SKIPPED: 6.0}


def test_steps_skipped_in_the_last_of_k_updates_are_counted_in_full() -> None:
    learner, data = make_learner(small_config()), columns(48, 5)
    learner.update(batch=batch_of(data))
    data["rewards"][32:] = np.nan
    for skipped in (1, 2):
        results = learner.update(batch=batch_of(data))
        assert results[DEFAULT_MODULE_ID]["non_finite_skipped"].peek() == skipped


@pytest.mark.parametrize("policy", ["gaussian", "implicit"])
def test_two_learners_on_half_batches_hold_the_weights_of_one_on_the_whole(policy: str, local_ray: None) -> None:
    """From the state of one learner, with which two go on.

    Not from the start: the first samples are whitened exactly, and Adam makes whole steps of a gradient that is but rounding.
    """
    config = small_config(policy, alpha="auto", target_calibration=True)
    data = columns(32, 4)
    one = make_learner(config.copy())
    one.update(batch=batch_of(columns(16, 3)))
    before = weights(one)
    group_config = config.copy().learners(num_learners=2)
    group_config.validate()
    group = group_config.build_learner_group(spaces={DEFAULT_MODULE_ID: SPACES})
    group.set_state({COMPONENT_LEARNER: one.get_state()})
    one.update(batch=batch_of(data))
    group.update(batch=batch_of({name: learner_by_learner(column, 2, 2) for name, column in data.items()}))
    states = [result.get() for result in group.foreach_learner(weights)]
    group.shutdown()
    moved = 0
    for name, value in weights(one).items():
        torch.testing.assert_close(states[0][name], states[1][name], rtol=0, atol=0, msg=f"learners differ in {name}")
        torch.testing.assert_close(states[0][name], value, rtol=1e-4, atol=1e-5, msg=f"two learners differ from one in {name}")
        moved += not torch.equal(value, before[name]) if name.endswith("out.weight") else 0
    assert policy == "gaussian" or moved > 0


def test_two_learners_remember_the_moments_of_the_samples_of_both(local_ray: None) -> None:
    """In double precision, also through a checkpoint's state."""
    config, data = small_config(), columns(16, 4)
    one = make_learner(config.copy())
    one.update(batch=batch_of(data))
    group_config = config.copy().learners(num_learners=2)
    group_config.validate()
    group = group_config.build_learner_group(spaces={DEFAULT_MODULE_ID: SPACES})
    group.update(batch=batch_of({name: learner_by_learner(column, 1, 2) for name, column in data.items()}))
    moments = {name: value for name, value in weights(one).items() if ".moments." in name}
    other = make_learner(config.copy())
    other.set_state(group.get_state()[COMPONENT_LEARNER])
    for held in (*(result.get() for result in group.foreach_learner(weights)), weights(other)):
        for name, value in moments.items():
            assert held[name].dtype == torch.float64
            torch.testing.assert_close(held[name], value, rtol=1e-6, atol=1e-6)
    assert all(torch.equal(held[name], weights(other)[name]) for name in moments)
    group.shutdown()
