"""Everything needed to judge a number and to make it again."""

import datetime
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

PACKAGES = ("ardae-rl", "torch", "ray", "gymnasium", "mujoco", "numpy", "stable-baselines3")


def provenance(**facts: object) -> dict[str, object]:
    """Command, time, commit, versions and machine of this process, and ``facts`` of its own (seeds, threads)."""
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "command": shlex.join(["python", *sys.argv]),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": None if changes is None else bool(changes),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load_average_1min": os.getloadavg()[0],
        **facts,
    }


def _git(*arguments: str) -> str | None:
    """Output of a git command in this package's own repository; None where it is not in one (installed elsewhere) or there is no git."""
    here = Path(__file__).resolve()

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *command], cwd=here.parent, capture_output=True, text=True, check=False)

    try:
        done = run(*arguments) if run("ls-files", "--error-unmatch", here.name).returncode == 0 else None
    except OSError:
        return None
    return done.stdout.strip() if done and done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()
