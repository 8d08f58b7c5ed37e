"""Noise that does not depend on how a mini-batch is split."""

import pytest
import torch

from ardae_rl.sac import ShardedNormal


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


@pytest.mark.parametrize("shards", [2, 3])
def test_shards_laid_end_to_end_are_the_whole_draw(shards: int) -> None:
    whole = ShardedNormal(generator())
    parts = [ShardedNormal(generator(), shard=shard, shards=shards) for shard in range(shards)]
    for shape in ((1, 2), (7, 3), (5,)):  # one draw after another: the generators keep step
        assert torch.equal(torch.cat([part(4, *shape) for part in parts]), whole(4 * shards, *shape))


def test_draws_are_standard_normal() -> None:
    draws = ShardedNormal(generator(), shard=1, shards=2)(20_000, 2)
    assert abs(draws.mean()) < 4 / 40_000**0.5
    assert abs(draws.square().mean() - 1) < 4 * (2 / 40_000) ** 0.5


@pytest.mark.parametrize(("shard", "shards"), [(2, 2), (-1, 2), (0, 0)])
def test_a_shard_that_does_not_exist_is_refused(shard: int, shards: int) -> None:
    with pytest.raises(ValueError, match=rf"shard must lie in \[0, shards\), got shard={shard} of shards={shards}"):
        ShardedNormal(generator(), shard=shard, shards=shards)
