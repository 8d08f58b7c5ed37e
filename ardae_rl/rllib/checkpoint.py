"""The policy in a checkpoint that Tune or :meth:`SACARDAE.save_to_path` wrote, without starting Ray.

Checkpoints are pickles: open only those you trust. :mod:`ardae_rl.sac.export` writes a policy so that it can be handed on.
"""

import pickle
from pathlib import Path
from typing import Any

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module import RLModule

from ardae_rl.rllib.algorithm import PROGRESS
from ardae_rl.sac.export import PolicyDescription, TrainedPolicy, in_a_line

_MODULE = Path("learner_group/learner/rl_module") / DEFAULT_MODULE_ID
_ALGORITHM, _STATE, _MODULE_STATE = "class_and_ctor_args.pkl", "algorithm_state.pkl", "module_state.pkl"
_POLICY = "policy."  # where the module keeps it


def read_policy(checkpoint: Path) -> TrainedPolicy:
    """The policy as it acted when ``checkpoint``, a folder, was written; on the CPU.

    Raises:
        FileNotFoundError: the folder is no checkpoint; the message names those inside it, if any.
        ValueError: it is damaged, of another algorithm, or of a version of this package whose policies this one cannot read.
    """
    if not (checkpoint / _MODULE).is_dir():
        inside = sorted(str(path.parent) for path in checkpoint.glob(f"**/{_STATE}"))
        advice = f"give one of those in it: {', '.join(inside)}" if inside else "give a folder such as runs/NAME/seed=0/checkpoint_000001"
        raise FileNotFoundError(f"{checkpoint} is not a checkpoint; {advice}")
    try:
        return _policy(checkpoint)
    except Exception as error:  # of pickle, RLlib, Gymnasium: damage has many names
        raise ValueError(
            f"{checkpoint} cannot be read ({type(error).__name__}: {in_a_line(error)}). It is damaged, or another algorithm's or "
            "version's; give another, such as the one before it"
        ) from error


def _policy(checkpoint: Path) -> TrainedPolicy:
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
    state = _unpickled(checkpoint / _MODULE / _MODULE_STATE)  # RLlib takes a state with other names, and keeps its random weights
    names = [name for name in state if name.startswith(_POLICY)]
    policy.sampler.load_state_dict({name.removeprefix(_POLICY): torch.as_tensor(state[name]) for name in names})
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
