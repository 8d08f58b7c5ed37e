"""Two learners on half mini-batches are one learner on the whole; a saved and restored one goes on bit for bit."""

import io
import threading
from collections.abc import Callable
from dataclasses import fields
from functools import partial

import pytest
import torch
from torch import Tensor

from ardae_rl.entropy import ScoreEntropy
from ardae_rl.sac import SAC, ScoreConfig, ShardedNormal, Transitions
from tests.sac.problem import PLAIN, POLICIES, SHARED, PolicyName, make_batch, make_config, make_sac, weights

EVERY = pytest.mark.parametrize("policy", POLICIES)


class Mean:
    """In-place average over as many threads as there are learners, standing where an all-reduce stands between processes."""

    def __init__(self, learners: int) -> None:
        self.barrier = threading.Barrier(learners, timeout=60)
        self.shares: list[list[Tensor]] = [[] for _ in range(learners)]

    def of(self, learner: int) -> Callable[[list[Tensor]], None]:
        def average(tensors: list[Tensor]) -> None:
            self.shares[learner] = [tensor.clone() for tensor in tensors]
            self.barrier.wait()
            for tensor, *shares in zip(tensors, *self.shares, strict=True):
                tensor.copy_(torch.stack(shares).mean(0))
            self.barrier.wait()

        return average


def part(batch: Transitions, shard: int, shards: int) -> Transitions:
    return Transitions(**{field.name: getattr(batch, field.name).chunk(shards)[shard] for field in fields(batch)})


def shared_noise(shard: int = 0, shards: int = 1) -> ShardedNormal:
    return ShardedNormal(torch.Generator().manual_seed(9), shard=shard, shards=shards)


def at_once(jobs: list[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)


def update_together(learners: list[SAC], batches: list[Transitions]) -> None:
    def run(index: int) -> None:
        for batch in batches:
            learners[index].update(part(batch, index, len(learners)))

    at_once([partial(run, index) for index in range(len(learners))])


@pytest.mark.parametrize(("policy", "score"), [*((policy, PLAIN) for policy in POLICIES), ("implicit", SHARED)])
@pytest.mark.parametrize("shards", [2, 4])
def test_learners_on_shards_equal_one_on_the_whole(policy: PolicyName, score: ScoreConfig, shards: int, float64: None) -> None:
    config, mean = make_config(policy, score=score, alpha="auto", target_calibration=True), Mean(shards)
    alone = make_sac(config, normal=shared_noise())
    together = [make_sac(config, normal=shared_noise(shard, shards), average=mean.of(shard)) for shard in range(shards)]
    batches = [make_batch(seed=seed) for seed in range(3)]
    start = weights(alone)
    for batch in batches:
        alone.update(batch)
    update_together(together, batches)
    for name, value in weights(alone).items():
        for learner in together:
            torch.testing.assert_close(weights(learner)[name], value, rtol=1e-7, atol=1e-9, msg=name)
            assert torch.equal(weights(learner)[name], weights(together[0])[name])
    assert not torch.equal(weights(alone)["networks.critic.first.layers.0.weight"], start["networks.critic.first.layers.0.weight"])


def test_moments_are_those_of_the_draws_of_all_learners(float64: None) -> None:
    """Of u, the policy's draws at the states of both shards: their mean, and their covariance with divisor N."""
    mean, states = Mean(2), make_batch().obs
    states[4:] = 5 + 3 * states[4:]
    learners = [make_sac(make_config(), normal=shared_noise(shard, 2), average=mean.of(shard)) for shard in range(2)]
    entropies, policy = [learner.entropy for learner in learners], learners[0].policy
    at_once(
        [
            partial(lambda *each: next(each[0].fit_losses(*each[1:])), entropy, learner.policy, own, learner.normal, learner.average)
            for entropy, learner, own in zip(entropies, learners, states.chunk(2), strict=True)
        ]
    )
    draws = policy.draw(states, shared_noise()(8, 6, policy.noise_dim)).detach()
    shares, together = [half.flatten(0, 1) for half in draws.chunk(2)], draws.flatten(0, 1)
    for entropy in entropies:
        assert isinstance(entropy, ScoreEntropy) and entropy.estimator.moments is not None
        moments = entropy.estimator.moments
        assert moments.count == 1
        torch.testing.assert_close(moments.mean, together.mean(0))
        torch.testing.assert_close(moments.covariance, together.T.cov(correction=0))
    covariances = [share.T.cov(correction=0) for share in shares]
    for wrong in (*covariances, torch.stack(covariances).mean(0)):  # one learner's alone; the scatter within learners only
        assert (wrong - moments.covariance).abs().max() > 0.01
    assert all((share.mean(0) - moments.mean).norm() > 0.1 for share in shares)


def test_one_poisoned_shard_stops_the_step_everywhere(float64: None) -> None:
    mean, batch = Mean(2), make_batch()
    batch.rewards[0] = torch.nan
    learners = [make_sac(make_config("gaussian"), normal=shared_noise(shard, 2), average=mean.of(shard)) for shard in range(2)]
    update_together(learners, [batch, make_batch(seed=2)])
    assert [learner.optimisers["critic"].skipped for learner in learners] == [1, 1]
    for name, value in weights(learners[0]).items():
        assert torch.equal(weights(learners[1])[name], value)
        assert value.isfinite().all()


def state_of(sac: SAC) -> dict[str, object]:
    assert isinstance(sac.normal, ShardedNormal)
    optimisers = {name: optimiser.state_dict() for name, optimiser in sac.optimisers.items()}
    modules = {"policy": sac.policy.state_dict(), "networks": sac.networks.state_dict()}
    return modules | {"optimisers": optimisers, "noise": sac.normal.generator.get_state()}


def restore(sac: SAC, file: io.BytesIO) -> None:
    assert isinstance(sac.normal, ShardedNormal)
    state = torch.load(file, weights_only=True)
    sac.policy.load_state_dict(state["policy"])
    sac.networks.load_state_dict(state["networks"])
    sac.normal.generator.set_state(state["noise"])
    for name, optimiser in sac.optimisers.items():
        optimiser.load_state_dict(state["optimisers"][name])


@EVERY
@pytest.mark.parametrize("alpha", [0.1, "auto"])
def test_a_restored_learner_goes_on_bit_for_bit(policy: PolicyName, alpha: float | str) -> None:
    config = make_config(policy, alpha=alpha, target_calibration=True)
    straight, resumed, file = make_sac(config), make_sac(config, seed=77), io.BytesIO()
    for seed in range(3):
        straight.update(make_batch(seed=seed))
    torch.save(state_of(straight), file)
    file.seek(0)
    restore(resumed, file)
    for seed in range(3, 6):
        ours, theirs = resumed.update(make_batch(seed=seed)), straight.update(make_batch(seed=seed))
        assert {name: float(value) for name, value in ours.items()} == {name: float(value) for name, value in theirs.items()}
    for name, value in weights(straight).items():
        assert torch.equal(weights(resumed)[name], value), name
