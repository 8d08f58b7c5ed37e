"""The Learner: K updates of ``ardae_rl.sac.SAC`` per call, on ready-made mini-batches.

With several learners each holds a shard of every mini-batch; noise is drawn as if for the whole one, gradients are averaged once per
optimiser step, so all learners stay equal to each other and to a single one.
"""

import copy
import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from torch import Tensor

from ardae_rl.rllib.module import SACARDAERLModule
from ardae_rl.run.process import prepare_training_process
from ardae_rl.run.ray_internals import forget_age_of_weights
from ardae_rl.sac import SAC, ShardedNormal, Transitions, build_optimisers
from ardae_rl.sac.update import SKIPPED

logger = logging.getLogger(__name__)
_NOISE_STATE = "noise_generator_state"
_NOISE_SEED = 11  # RLlib seeds the initial weights with the config's own: the first noise would be made of the same random bits


class SACARDAETorchLearner(TorchLearner):
    """Holds one :class:`ardae_rl.sac.SAC`; its optimisers are RLlib's registered ones, hence in every checkpoint."""

    def build(self) -> None:
        prepare_training_process()
        super().build()
        module = self.module[DEFAULT_MODULE_ID]
        seed = int(np.random.SeedSequence((self.config.seed or 0, _NOISE_SEED)).generate_state(1)[0])
        generator = torch.Generator(device=self.device).manual_seed(seed)
        shards = max(self.config.num_learners, 1)
        shard = torch.distributed.get_rank() if shards > 1 else 0
        self.noise_generator = generator
        self.sac = SAC(
            module.policy,
            module.learner_networks,
            self._sac_optimisers,
            self.config.sac,
            normal=ShardedNormal(generator, shard=shard, shards=shards),
            **({"average": _average_over_learners} if shards > 1 else {}),
        )

    def configure_optimizers_for_module(self, module_id: str, config: AlgorithmConfig | None = None) -> None:
        module: SACARDAERLModule = self.module[module_id]
        self._sac_optimisers = build_optimisers(module.policy, module.learner_networks, self.config.sac)
        for name, optimiser in self._sac_optimisers.items():
            parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
            # Without a learning rate: RLlib would give every group of parameters the same one.
            self.register_optimizer(module_id=module_id, optimizer_name=name, optimizer=optimiser, params=parameters)

    def _make_modules_ddp_if_necessary(self) -> None:
        """Start equal; ``SAC`` averages gradients itself (RLlib's DDP wrapper synchronises only what goes through ``forward_train``)."""
        if self.config.num_learners > 1:
            for tensor in self.module[DEFAULT_MODULE_ID].state_dict().values():
                torch.distributed.broadcast(tensor, src=0)

    def _update(self, batch: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]:
        """Run one SAC update per mini-batch in ``batch``, K of them one after the other, and log what comes of their metrics."""
        data = batch[DEFAULT_MODULE_ID]
        rows = self.config.train_batch_size_per_learner
        metrics = [self.sac.update(_slice(data, i, rows)) for i in range(len(data[Columns.REWARDS]) // rows)]
        logged = _over_updates(metrics)
        self.metrics.log_dict(logged, key=DEFAULT_MODULE_ID, window=1)
        return {}, {DEFAULT_MODULE_ID: torch.tensor(logged["critic_loss"])}, {}

    def compute_loss_for_module(self, *, module_id: str, config: AlgorithmConfig, batch: dict[str, Any], fwd_out: dict[str, Any]) -> Tensor:
        raise RuntimeError("SACARDAE has several losses, each with its own optimiser; they are computed in ardae_rl.sac.SAC.update().")

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        state = super().get_state(components, not_components=not_components, **kwargs)
        state[_NOISE_STATE] = (self.noise_generator.device.type, self.noise_generator.get_state().numpy())
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """With a copy of its own: several learners are handed the same shared memory, in which their optimisers would write."""
        forget_age_of_weights(self)
        super().set_state(copy.deepcopy(state))
        if _NOISE_STATE in state:
            device, noise = state[_NOISE_STATE]
            if device == self.noise_generator.device.type:
                self.noise_generator.set_state(torch.from_numpy(noise.copy()))
            else:
                logger.warning("the checkpoint's noise generator ran on %s: continuing with fresh noise.", device)


def _average_over_learners(tensors: list[Tensor]) -> None:
    """One all-reduce for all of them."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def _slice(data: dict[str, Tensor], index: int, rows: int) -> Transitions:
    columns = (Columns.OBS, Columns.ACTIONS, Columns.REWARDS, Columns.NEXT_OBS, Columns.TERMINATEDS)
    return Transitions(*(data[column][index * rows : (index + 1) * rows] for column in columns))


def _over_updates(metrics: Sequence[dict[str, Tensor]]) -> dict[str, float]:
    """The mean of each metric over the updates that have it; of steps skipped, a running count, the last. One transfer from the device."""
    names = list(dict.fromkeys(name for each in metrics for name in each))
    device, missing = metrics[-1][SKIPPED].device, torch.tensor(math.nan)
    rows = [torch.stack([m.get(name, missing).to(device, torch.float32) for name in names]) for m in metrics]
    there = torch.tensor([[name in m for name in names] for m in metrics], device=device)
    sums, last = torch.where(there, torch.stack(rows), 0.0).sum(0) / there.sum(0), rows[-1]
    means, at_end = (dict(zip(names, row, strict=True)) for row in torch.stack([sums, last]).tolist())
    return means | {SKIPPED: at_end[SKIPPED]}
