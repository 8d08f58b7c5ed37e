"""The policy in a checkpoint that Tune or :meth:`SACARDAE.save_to_path` wrote, without starting Ray.

Checkpoints are pickles: open only those you trust. :mod:`ardae_rl.sac.export` writes a policy so that it can be handed on.
"""

import pickle
from pathlib import Path
from typing import Any

from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module import RLModule

from ardae_rl.rllib.algorithm import PROGRESS
from ardae_rl.sac.export import PolicyDescription, TrainedPolicy

_MODULE = Path("learner_group/learner/rl_module") / DEFAULT_MODULE_ID
_ALGORITHM, _STATE = "class_and_ctor_args.pkl", "algorithm_state.pkl"


def read_policy(checkpoint: Path) -> TrainedPolicy:
    """The policy as it acted when ``checkpoint``, a folder, was written; on the CPU.

    Raises:
        FileNotFoundError: the folder is no checkpoint; the message names those inside it, if any.
    """
    if not (checkpoint / _MODULE).is_dir():
        inside = sorted(str(path.parent) for path in checkpoint.glob(f"**/{_STATE}"))
        advice = f"give one of those in it: {', '.join(inside)}" if inside else "give a folder such as runs/NAME/seed=0/checkpoint_000001"
        raise FileNotFoundError(f"{checkpoint} is not a checkpoint; {advice}")
    module: Any = RLModule.from_checkpoint(str((checkpoint / _MODULE).resolve()))
    env, env_config = _environment(_unpickled(checkpoint / _ALGORITHM)["ctor_args_and_kwargs"][0][0])
    policy = TrainedPolicy(
        PolicyDescription(
            env=env,
            env_config=env_config,
            env_steps=_unpickled(checkpoint / _STATE)[PROGRESS]["env_steps"],
            obs_dim=module.observation_space.shape[0],
            action_low=module.action_space.low.tolist(),
            action_high=module.action_space.high.tolist(),
            sac=module.model_config["sac"],
        )
    )
    policy.sampler.load_state_dict(module.policy.state_dict())
    return policy.eval()


def _environment(config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Id and keyword arguments, of the config a checkpoint's algorithm was made from: a trial's, or RLlib's own."""
    return config["env"], dict(config.get("settings", config)["env_config"])


def _unpickled(path: Path) -> Any:
    with path.open("rb") as file:
        return _Unpickler(file).load()


class _Unpickler(pickle.Unpickler):
    """Also of checkpoints that hold the trial's class piece by piece, methods that are no more included: nothing here calls them."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except AttributeError:
            if "." not in name:
                raise
            return None
