"""Standard normal noise that does not depend on how a mini-batch is split over learners."""

import torch
from torch import Tensor


class ShardedNormal:
    """``normal(B, *shape)``: the rows of this shard out of a draw for all ``shards`` x B rows from one generator.

    Every learner holds the same generator in the same state, so n learners on n shards see the noise that one learner on the whole
    mini-batch would, and their averaged gradient is its gradient.
    """

    def __init__(self, generator: torch.Generator, *, shard: int = 0, shards: int = 1) -> None:
        if not 0 <= shard < shards:
            raise ValueError(f"shard must lie in [0, shards), got shard={shard} of shards={shards}.")
        self.generator, self.shard, self.shards = generator, shard, shards

    def __call__(self, batch: int, *shape: int) -> Tensor:
        everything = torch.randn(self.shards * batch, *shape, generator=self.generator, device=self.generator.device)
        return everything[self.shard * batch : (self.shard + 1) * batch]
