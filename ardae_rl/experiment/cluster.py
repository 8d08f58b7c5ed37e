"""A Ray cluster to work on, joined or started on this machine, and what has room there.

At one on this machine gets nobody from elsewhere, and here whoever can read its token, who can run code as its owner.
"""

import dataclasses
import logging
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from ardae_rl.experiment.options import RunOptions
from ardae_rl.experiment.plan import Footprint, Resources, shortfall
from ardae_rl.experiment.problems import InvalidExperimentError, Problem
from ardae_rl.experiment.schema import Experiment

_OTHERWISE = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")  # where the token is, if not in the default file
_SEVERAL_MACHINES = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # Ray's switch, named for where it is off by default
CONNECT_TIMEOUT_S = 10.0
SOCKET_FOLDER_BYTES = 30  # the path of a socket may have 107 in all, of which Ray takes 76 and its dashboard, below a folder of ours, 50

_FOR_RAY = {
    "RAY_task_events_max_num_task_in_gcs": "10000",  # of 100,000: Ray's head process grew by 130 MB an hour (docs/faults.md)
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}


def cluster_to_join(address: str | None) -> str | None:
    """``address``, else RAY_ADDRESS; None where a cluster is to be started on this machine, which "local" asks for, too."""
    given = address or os.environ.get("RAY_ADDRESS")
    return None if given == "local" else given


def keep_to_this_machine() -> None:
    """Have a cluster that this process starts listen on the loopback interface alone. Ray must not be imported yet: it looks only then."""
    os.environ.setdefault(_SEVERAL_MACHINES, "0")


def make_token() -> None:
    """Put one into Ray's default file, if there is none, readable for its owner alone: Ray would make it readable for everybody.

    A umask around ``ray.init`` would do as well, and be that of all its processes: of the results, too.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token" or any(name in os.environ for name in _OTHERWISE):
        return
    path = Path.home() / ".ray" / "auth_token"
    with suppress(OSError):  # it is there; or cannot be, and Ray will say so better
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_hex(32))


@contextmanager
def cluster(address: str | None) -> Iterator[str]:
    """A Ray cluster to work on: the one at ``address`` or RAY_ADDRESS, else a new one on this machine.

    Yields the address of Ray's dashboard as one reads it, or why there is none.
    """
    for name, value in _FOR_RAY.items():
        os.environ.setdefault(name, value)
    import ray

    from ardae_rl.run.ray_internals import apart_from_signals, cpus_of_this_machine

    logging.getLogger("ray").setLevel(logging.CRITICAL)  # until there is a file to log to; what goes wrong is raised as well
    joined = cluster_address(address)
    if not joined:
        make_token()
    with nullcontext() if joined else _own_temporary_files():
        try:
            _knock(joined)
            with apart_from_signals():
                own = {} if joined else {"num_cpus": cpus_of_this_machine()}
                context = ray.init(address=joined or "local", configure_logging=False, log_to_driver=False, **own)
        except Exception as error:  # Ray raises many kinds, of a node that is slow to start a bare Exception
            raise InvalidExperimentError([_no_cluster(joined, error)]) from error
        try:
            missing = "did not start; dashboard.log among Ray's logs says why (docs/monitoring.md)"
            yield f"http://{context.dashboard_url}" if context.dashboard_url else missing
        finally:
            ray.shutdown()


@contextmanager
def _own_temporary_files() -> Iterator[None]:
    """A folder for the temporary files of all processes, removed with what they leave: Ray's dashboard never cleans up its ``pymp-*``.

    Ray's logs and sockets, and what torch compiled, stay where they always are, but for sockets where TMPDIR is too long a path for any:
    Ray would not start there, or go without its dashboard after a minute.
    """
    short = tempfile.gettempdir() if len(os.fsencode(tempfile.gettempdir())) <= SOCKET_FOLDER_BYTES else "/tmp"
    places = {"RAY_TMPDIR": short, "TORCHINDUCTOR_CACHE_DIR": str(Path(tempfile.gettempdir()) / f"torchinductor_{os.getuid()}")}
    kept = {name: os.environ[name] for name in ("TMPDIR", *places) if name in os.environ}
    with tempfile.TemporaryDirectory(prefix="ardae-rl-", dir=short, ignore_cleanup_errors=True) as folder:
        os.environ |= {**places, **kept, "TMPDIR": folder}
        try:
            yield
        finally:
            for name in ("TMPDIR", *places):
                del os.environ[name]
            os.environ |= kept


def _no_cluster(address: str | None, error: Exception) -> Problem:
    cause = " ".join(str(error).split())[:300].rstrip(".")
    if address:
        advice = "is it running, and RAY_AUTH_MODE=token set if it asks for a token? Leave the address out to start one on this machine"
        return Problem(f"--address {address}", "", f"no Ray cluster can be joined there ({cause}); {advice}")
    if "AF_UNIX" in cause:
        return Problem("RAY_TMPDIR", "", f"Ray cannot be started on this machine: {cause}; set RAY_TMPDIR to a shorter path, such as /tmp")
    advice = (
        "try again when the machine is less busy; where the home directory cannot be written to, set RAY_AUTH_TOKEN to a token of yours"
    )
    return Problem("Ray", "", f"cannot be started on this machine: {cause}; {advice}")


def cluster_address(address: str | None) -> str | None:
    """The cluster to join: ``address``, else RAY_ADDRESS, else None. Raises InvalidExperimentError for a Ray Client address."""
    joined = cluster_to_join(address)
    if joined and joined.startswith("ray://"):
        advice = "submit this command with 'ray job submit' or give the cluster's GCS address, HOST:6379"
        raise InvalidExperimentError([Problem(f"--address {joined}", "", f"a Ray Client connection cannot follow a run; {advice}")])
    return joined


def _knock(address: str | None) -> None:
    """Raise OSError at once where Ray would spend minutes on retries: nothing listens at HOST:PORT."""
    host, colon, port = (address or "").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()


def footprints(experiment: Experiment) -> list[Footprint]:
    """What each trial reserves, in the order of :func:`.plan.trial_assignments`."""
    trainable, asked = experiment.trainable(), []
    for point in experiment.grid_points():
        config = {**experiment.subject, "settings": dataclasses.asdict(experiment.settings(point)), "seed": experiment.seed_list[0]}
        request = trainable.default_resource_request(config)
        asked += [Footprint(tuple(dict(bundle) for bundle in request.bundles))] * len(experiment.seed_list)
    return asked


def cluster_nodes() -> list[dict[str, float]]:
    """What each machine of the cluster has, taken or not. Call inside :func:`cluster`."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def local_nodes() -> list[dict[str, float]]:
    """What a cluster started on this machine would have."""
    import torch

    from ardae_rl.run.ray_internals import cpus_of_this_machine

    return [{"CPU": cpus_of_this_machine(), "GPU": float(torch.cuda.device_count())}]


def check_resources(experiment: Experiment, options: RunOptions) -> None:
    """Refuse trials that the cluster as it is can never hold; one that may grow only has to be told what they wait for."""
    reason = obstacle(experiment, cluster_nodes())
    if reason and options.may_grow:
        options.say("Note", f"a trial can start only once the cluster has grown: {reason}")
    elif reason:
        advice = f"{experiment.resource_advice}, use a larger cluster with --address, or add --autoscaling if this one grows on demand"
        raise InvalidExperimentError([Problem("resources", "", f"a trial can never start: {reason}; {advice}")])


def obstacle(experiment: Experiment, nodes: Sequence[Resources]) -> str | None:
    """Why some trial can never start on ``nodes``, or None."""
    reasons = (shortfall(footprint, nodes) for footprint in footprints(experiment)[:: len(experiment.seed_list)])
    return next(filter(None, reasons), None)
