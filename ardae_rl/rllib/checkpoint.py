"""What a checkpoint of :class:`SACARDAE` is made of, and the policy in one, read without starting Ray.

``training_state.pkl``: all that training goes on from but the replay buffer, with a format version and a digest; written last, it makes the
folder a checkpoint. ``replay/``: see ``replay.py``. The rest is for RLlib's ``from_checkpoint``, of the algorithm and of the module.
Checkpoints are pickles: open only those you trust. :mod:`ardae_rl.sac.export` writes a policy so that it can be handed on.
"""

import hashlib
import pickle
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pyarrow.fs import FileSystem, LocalFileSystem, copy_files
from ray import cloudpickle
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_LEARNER_GROUP, COMPONENT_OPTIMIZER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.rl_module import MultiRLModule
from ray.rllib.utils.checkpoints import Checkpointable

from ardae_rl.nn.settings import build
from ardae_rl.run.disk import write_into
from ardae_rl.run.ray_internals import class_of_actor
from ardae_rl.sac.export import PolicyDescription, TrainedPolicy, in_a_line

TRAINING_STATE, REPLAY_DIRECTORY = "training_state.pkl", "replay"
FORMAT = "ardae-rl checkpoint 1"
PROGRESS, POLICY = "ardae_rl_progress", "ardae_rl_policy"  # what this package adds to RLlib's state of an algorithm
MODULES = Path(COMPONENT_LEARNER_GROUP) / COMPONENT_LEARNER / COMPONENT_RL_MODULE
_CLASS, _BEFORE_FORMATS = Checkpointable.CLASS_AND_CTOR_ARGS_FILE_NAME, "algorithm_state.pkl"
_SAMPLER = "policy."  # where the module keeps it


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Into ``folder``, and read back. Raises ValueError for a state without weights, OSError if the disk fails or holds something else."""
    learner_state(state)
    body = pickle.dumps(state)
    content = f"{FORMAT} {hashlib.sha256(body).hexdigest()}\n".encode() + body
    path = folder / TRAINING_STATE
    path.write_bytes(content)
    if path.read_bytes() != content:
        raise OSError(f"{path} does not hold what was written into it")


def read_state(folder: Path) -> dict[str, Any]:
    """Raises FileNotFoundError, which names the checkpoints inside ``folder``, if it is none; ValueError if it is damaged, or of another
    version's format."""
    try:
        content = (folder / TRAINING_STATE).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise _no_checkpoint(folder) from None
    head, _, body = content.partition(b"\n")
    found = re.fullmatch(r"(ardae-rl checkpoint \d+) ([0-9a-f]{64})", head.decode(errors="replace"))
    if found and found[1] != FORMAT:
        raise ValueError(f"{folder} has the format {found[1]!r}, expected {FORMAT!r}: open it with the version of ardae_rl that wrote it")
    if not found or hashlib.sha256(body).hexdigest() != found[2]:
        raise ValueError(f"{folder} is damaged: {TRAINING_STATE} is not what was written. Give another, such as the one before it")
    state: dict[str, Any] = pickle.loads(body)
    learner_state(state)
    return state


def learner_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """The learners' part of an algorithm's state. Raises ValueError without weights and optimisers: training would begin anew, silently."""
    learner: dict[str, Any] = state.get(COMPONENT_LEARNER_GROUP, {}).get(COMPONENT_LEARNER, {})
    weights = learner.get(COMPONENT_RL_MODULE, {}).get(DEFAULT_MODULE_ID, {})
    if not any(name.startswith(_SAMPLER) for name in weights) or not learner.get(COMPONENT_OPTIMIZER):
        raise ValueError("the learners' state holds no weights, or no optimisers: it is no checkpoint to go on from")
    return learner


def _no_checkpoint(folder: Path) -> Exception:
    if (folder / _BEFORE_FORMATS).is_file():
        return ValueError(f"{folder} has no format version: it is RLlib's, or of an ardae_rl before formats; open it with what wrote it")
    inside = sorted(str(path.parent) for path in folder.glob(f"**/{TRAINING_STATE}"))
    advice = f"give one of those in it: {', '.join(inside)}" if inside else "give a folder such as runs/NAME/seed=0/checkpoint_000001"
    return FileNotFoundError(f"{folder} is not a checkpoint; {advice}")


def write_for_rllib(folder: Path, modules: MultiRLModule, state: Mapping[str, Any]) -> None:
    """The module as RLlib's own checkpoints hold it, and no class but by its name.

    An actor is of a class that Ray derives from ours on the spot. It has no name to be pickled by, so RLlib pickles it piece by piece,
    with every method of ours that Ray wraps, and only a version with the very same methods, private ones too, could open the checkpoint.
    """
    modules.save_to_path(folder / MODULES, state=dict(learner_state(state)[COMPONENT_RL_MODULE]))
    for path in folder.rglob(_CLASS):
        facts = cloudpickle.loads(path.read_bytes())
        path.write_bytes(cloudpickle.dumps({**facts, "class": class_of_actor(facts["class"])}))


def write_checkpoint(path: Any, filesystem: FileSystem | None, fill: Callable[[Path], object]) -> str:
    """Let ``fill`` write a checkpoint, which comes to ``path`` whole or not at all: a folder here (None: a new one) or, by its URI or on a
    ``filesystem`` of pyarrow's, elsewhere. Returns its path."""
    filesystem, place = _placed(path, filesystem)
    if filesystem is None:
        write_into(Path(place), fill, last=TRAINING_STATE)
        return place
    with tempfile.TemporaryDirectory() as aside:
        fill(Path(aside))
        state = Path(aside) / TRAINING_STATE
        content = state.read_bytes()
        state.unlink()
        filesystem.create_dir(place)
        copy_files(aside, place, destination_filesystem=filesystem)
        with filesystem.open_output_stream(f"{place}/{TRAINING_STATE}") as file:
            file.write(content)
    return place


@contextmanager
def checkpoint_here(path: Any, filesystem: FileSystem | None) -> Iterator[Path]:
    """The folder of a checkpoint, fetched to this machine if it is elsewhere."""
    filesystem, place = _placed(path, filesystem)
    if filesystem is None:
        yield Path(place)
        return
    with tempfile.TemporaryDirectory() as aside:
        copy_files(place, aside, source_filesystem=filesystem)
        yield Path(aside)


def _placed(path: Any, filesystem: FileSystem | None) -> tuple[FileSystem | None, str]:
    """A file system other than this machine's, or None, and the path there."""
    place = tempfile.mkdtemp() if path is None else str(path)
    if filesystem is None and "://" in place:
        filesystem, place = FileSystem.from_uri(place)
    if filesystem is None or isinstance(filesystem, LocalFileSystem):
        return None, str(Path(place).absolute())
    return filesystem, place


def described(algorithm_config: Any, module: Any, env_steps: int) -> dict[str, Any]:
    """What :func:`read_policy` needs besides weights: a :class:`PolicyDescription` as plain values."""
    space = module.action_space
    description = PolicyDescription(
        env=str(algorithm_config.env),
        env_config=dict(algorithm_config.env_config),
        env_steps=env_steps,
        obs_dim=module.observation_space.shape[0],
        action_low=space.low.tolist(),
        action_high=space.high.tolist(),
        action_dtype=space.dtype.name,
        max_episode_steps=algorithm_config.evaluation_protocol.max_episode_steps,
        sac=algorithm_config.sac,
    )
    return asdict(description)


def read_policy(checkpoint: Path) -> TrainedPolicy:
    """The policy as it acted when ``checkpoint``, a folder, was written; on the CPU. Raises as :func:`read_state`."""
    state = read_state(checkpoint)
    weights = learner_state(state)[COMPONENT_RL_MODULE][DEFAULT_MODULE_ID]
    try:
        return policy_of(state[POLICY], weights)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{checkpoint} holds no policy of this version of ardae_rl: {in_a_line(error)}") from error


def policy_of(description: Mapping[str, Any], weights: Mapping[str, Any]) -> TrainedPolicy:
    """From what :func:`described` says and the state of a module, on a learner or a runner."""
    policy = TrainedPolicy(build(PolicyDescription, description))
    sampler = {name.removeprefix(_SAMPLER): torch.as_tensor(value) for name, value in weights.items() if name.startswith(_SAMPLER)}
    policy.sampler.load_state_dict(sampler)
    return policy.eval()
