"""The RLModule: the policy where actions are computed, and next to it, on learners only, everything else that is trained.

Returns actions itself (``Columns.ACTIONS``), normalised to (-1, 1): an implicit policy has no distribution to hand to RLlib. RLlib's
module-to-env connector maps them to the environment's box, and stores the normalised ones.
"""

from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor

from ardae_rl.rllib.spaces import unfit
from ardae_rl.sac import LearnerNetworks, SACConfig, build_policy


class SACARDAERLModule(TorchRLModule, InferenceOnlyAPI):
    """``model_config`` holds ``sac``, a :class:`SACConfig`.

    Exploration draws one action per state from the policy, or uniformly from (-1, 1) while ``explores_uniformly``, which the algorithm
    sets during the warm-up; inference is the policy at zero noise.
    """

    explores_uniformly = False

    def setup(self) -> None:
        sac: SACConfig = self.model_config["sac"]
        for key, message in unfit(self.observation_space, self.action_space, sac):
            raise ValueError(f"the environment {message}." if key == "env" else f"{key} {message}.")
        obs_dim, action_dim = self.observation_space.shape[0], self.action_space.shape[0]
        self.policy = build_policy(obs_dim, action_dim, sac)
        if not self.inference_only:
            self.learner_networks = LearnerNetworks(self.policy, obs_dim, sac)

    def get_non_inference_attributes(self) -> list[str]:
        return ["learner_networks"]

    @torch.no_grad()
    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        return {Columns.ACTIONS: self.policy.centre(batch[Columns.OBS].float()).tanh()}

    @torch.no_grad()
    def _forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        obs = batch[Columns.OBS].float()
        if self.explores_uniformly:
            return {Columns.ACTIONS: torch.empty(len(obs), self.policy.dim, device=obs.device).uniform_(-1, 1)}
        noise = torch.randn(len(obs), 1, self.policy.noise_dim, device=obs.device)
        return {Columns.ACTIONS: self.policy.draw(obs, noise).squeeze(1).tanh()}

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """RLlib makes single precision of double, which the moments of samples need."""
        state, own = super().get_state(*args, **kwargs), self.state_dict()
        return {name: own[name].cpu().numpy().copy() if own[name].dtype == torch.float64 else value for name, value in state.items()}

    def set_state(self, state: dict[str, Any]) -> None:
        """The same on the way back; and where RLlib keeps random weights in the place of missing ones, this raises RuntimeError."""
        own = self.state_dict()
        self.load_state_dict({name: torch.tensor(value) for name, value in state.items() if not self.inference_only or name in own})

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        raise RuntimeError("SACARDAE trains through its Learner's own update, which calls the networks directly, not forward_train().")
