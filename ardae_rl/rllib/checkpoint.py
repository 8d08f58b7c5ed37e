"""What a checkpoint of :class:`SACARDAE` is made of, and the policy in one, read without starting Ray.

Checkpoints are pickles: open only those you trust. :mod:`ardae_rl.sac.export` writes a policy so that it can be handed on.
"""

import pickle
from pathlib import Path
from typing import Any

import torch
from ray import cloudpickle
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module import RLModule
from ray.rllib.utils.checkpoints import Checkpointable

from ardae_rl.run.ray_internals import class_of_actor
from ardae_rl.sac.export import PolicyDescription, TrainedPolicy, in_a_line

PROGRESS, REPLAY_DIRECTORY = "ardae_rl_progress", "replay"
_MODULE = Path("learner_group/learner/rl_module") / DEFAULT_MODULE_ID
_CLASS, _STATE, _MODULE_STATE = Checkpointable.CLASS_AND_CTOR_ARGS_FILE_NAME, "algorithm_state.pkl", "module_state.pkl"
_POLICY = "policy."  # where the module keeps it


def name_classes(checkpoint: Path) -> None:
    """Have a checkpoint name its classes, and nothing inside them.

    An actor is of a class that Ray derives from ours on the spot. It has no name to be pickled by, so RLlib pickles it piece by piece,
    with every method of ours that Ray wraps, and only a version with the very same methods, private ones too, could open the checkpoint.
    """
    for path in checkpoint.rglob(_CLASS):
        facts = cloudpickle.loads(path.read_bytes())
        path.write_bytes(cloudpickle.dumps({**facts, "class": class_of_actor(facts["class"])}))


def read_policy(checkpoint: Path) -> TrainedPolicy:
    """The policy as it acted when ``checkpoint``, a folder, was written; on the CPU.

    Raises FileNotFoundError, which names the checkpoints inside it, if it is none; ValueError if it is damaged or another algorithm's.
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
    config = _unpickled(checkpoint / _CLASS)["ctor_args_and_kwargs"][0][0]  # a trial's, or RLlib's own
    policy = TrainedPolicy(
        PolicyDescription(
            env=config["env"],
            env_config=dict(config.get("settings", config)["env_config"]),
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


def _unpickled(path: Path) -> Any:
    return pickle.loads(path.read_bytes())
