"""The files in deploy/ say what Ray, KubeRay and SLURM understand: validated without a cloud; the SLURM script also runs, on stand-ins."""

import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.dashboard.modules.job import job_supervisor
from ray.scripts.scripts import start
from typer.main import Typer, get_command

from ardae_rl.cli import tune
from ardae_rl.experiment.watch import STOP_TIMEOUT_S

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PINNED_RAY = re.search(r"^ray==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
RAY_START = {option for parameter in start.params for option in parameter.opts}

WAIT = "RAY_JOB_STOP_WAIT_TIME_S"

TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
POD = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["containers", "volumes"],
            "properties": {
                "containers": {
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": "object", "required": ["name", "image", "resources", "volumeMounts"]},
                },
            },
        },
    },
}
HEAD = {
    "type": "object",
    "required": ["rayStartParams", "template"],
    "additionalProperties": False,
    "properties": {"rayStartParams": TEXTS, "template": POD},
}
WORKERS = HEAD | {
    "required": ["groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"],
    "properties": {
        "rayStartParams": TEXTS,
        "template": POD,
        "groupName": {"type": "string"},
        **{name: {"type": "integer", "minimum": 0} for name in ("replicas", "minReplicas", "maxReplicas")},
    },
}
RAY_JOB = {  # of KubeRay's API reference for ray.io/v1: the fields in use, their types, and nothing else
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayJob"},
        "metadata": {"type": "object"},
        "spec": {
            "type": "object",
            "required": ["entrypoint", "rayClusterSpec"],
            "additionalProperties": False,
            "properties": {
                "entrypoint": {"type": "string"},
                "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"]},
                "shutdownAfterJobFinishes": {"type": "boolean"},
                "ttlSecondsAfterFinished": {"type": "integer", "minimum": 0},
                "backoffLimit": {"type": "integer", "minimum": 0},
                "rayClusterSpec": {
                    "type": "object",
                    "required": ["rayVersion", "headGroupSpec", "workerGroupSpecs"],
                    "additionalProperties": False,
                    "properties": {
                        "rayVersion": {"type": "string"},
                        "enableInTreeAutoscaling": {"type": "boolean"},
                        "authOptions": {"type": "object", "properties": {"mode": {"enum": ["token", "disabled"]}}},
                        "headGroupSpec": HEAD,
                        "workerGroupSpecs": {"type": "array", "items": WORKERS},
                    },
                },
            },
        },
    },
}


def manifest(name: str) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text())
    return data


def options(text: str) -> set[str]:
    return set(re.findall(r"(?<!\S)(--[a-z-]+)", text))


def tune_options() -> set[str]:
    app = Typer()
    app.command()(tune)
    return {option for parameter in get_command(app).params for option in parameter.opts}


def test_the_cluster_file_is_one_that_ray_up_takes() -> None:
    """And Ray's validation would tell: it refuses the same file with a key it does not have."""
    prepared = prepare_config(manifest("ray-cluster.yaml"))
    validate_config(prepared)
    with pytest.raises(jsonschema.ValidationError, match="head_commands"):
        validate_config(prepared | {"head_commands": []})


def test_a_stopped_job_gets_the_time_that_its_checkpoints_take() -> None:
    """On every head; Ray's own 3 s would be a kill."""
    head = manifest("kuberay-rayjob.yaml")["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    given = [variable["value"] for variable in head["env"] if variable["name"] == WAIT]
    for text in (manifest("ray-cluster.yaml")["head_start_ray_commands"][-1], (DEPLOY / "slurm.sh").read_text()):
        given += re.findall(rf"{WAIT}=(\d+)", text)
    assert len(given) == 3 and all(float(seconds) > STOP_TIMEOUT_S for seconds in given)
    assert WAIT in inspect.getsource(job_supervisor), "Ray calls it otherwise by now"


@pytest.mark.parametrize("section", ["head_start_ray_commands", "worker_start_ray_commands"])
def test_the_cluster_file_starts_ray_with_options_there_are(section: str) -> None:
    *_, command = manifest("ray-cluster.yaml")[section]
    used = options(command)
    assert "--metrics-export-port" in used and used <= RAY_START
    assert "RAY_AUTH_MODE=token" in command


def test_the_kubernetes_job_fits_its_schema() -> None:
    job = manifest("kuberay-rayjob.yaml")
    assert (job["kind"], job["apiVersion"]) == ("RayJob", "ray.io/v1")
    jsonschema.validate(job, RAY_JOB)
    del job["spec"]["entrypoint"]
    with pytest.raises(jsonschema.ValidationError, match="entrypoint"):
        jsonschema.validate(job, RAY_JOB)


def pods() -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    cluster = manifest("kuberay-rayjob.yaml")["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        yield group["rayStartParams"], group["template"]["spec"]


def test_every_pod_has_the_same_image_the_shared_volume_and_options_there_are() -> None:
    images = set()
    for parameters, pod in pods():
        (container,) = pod["containers"]
        images.add(container["image"])
        assert [mount["name"] for mount in container["volumeMounts"]] == [volume["name"] for volume in pod["volumes"]] == ["shared"]
        assert container["resources"]["requests"] == container["resources"]["limits"], "Ray counts what the limits say"
        assert {f"--{name}" for name in parameters} <= RAY_START
    assert len(images) == 1


def test_the_head_pod_is_given_longer_to_end_than_a_stopped_run() -> None:
    (_, head), *_ = pods()
    (wait,) = [variable["value"] for variable in head["containers"][0]["env"] if variable["name"] == WAIT]
    assert head["terminationGracePeriodSeconds"] > int(wait)


def test_the_image_holds_what_a_run_needs() -> None:
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    (workdir,) = re.findall(r"^WORKDIR (\S+)$", text, re.MULTILINE)
    assert f"cd {workdir} " in manifest("kuberay-rayjob.yaml")["spec"]["entrypoint"]
    copied = [name for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for name in line.split()[:-1]]
    assert {"ardae_rl", "scripts", "tune_configs", "constraints.txt", "pyproject.toml"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)


def test_the_kubernetes_job_runs_an_experiment_there_is_with_the_version_that_is_pinned() -> None:
    spec = manifest("kuberay-rayjob.yaml")["spec"]
    (config,) = re.findall(r"tune_configs/\S+\.yaml", spec["entrypoint"])
    assert (ROOT / config).is_file()
    assert "--auto-resume" in options(spec["entrypoint"]) <= tune_options()
    assert PINNED_RAY is not None and spec["rayClusterSpec"]["rayVersion"] == PINNED_RAY[1]


def test_the_slurm_script_is_a_script_and_starts_ray_and_runs_with_options_there_are() -> None:
    text = (DEPLOY / "slurm.sh").read_text()
    subprocess.run(["bash", "-n", str(DEPLOY / "slurm.sh")], check=True, timeout=30)
    of_ray = re.findall(r'"\$\{ray\[@\]\}" start (.*?(?:&|bash))', text, re.DOTALL)
    assert text.index("export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK") < text.index("srun --nodes")
    assert len(of_ray) == 2 and all(options(command) <= RAY_START for command in of_ray)
    (of_tune,) = re.findall(r"scripts/tune\.py(.*)&", text)
    assert {"--address", "--auto-resume"} <= options(of_tune) <= tune_options()


def test_the_image_does_not_run_as_root_and_its_user_may_write_to_the_shared_volume() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    (user,) = re.findall(r"useradd --create-home --uid (\d+) (\w+)", "\n".join(lines))
    assert lines[-1] == f"USER {user[1]}"
    cluster = manifest("kuberay-rayjob.yaml")["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert group["template"]["spec"]["securityContext"] == {"fsGroup": int(user[0])}


EXPERIMENT = """\
name: tiny
run: score_error
seeds: 2
config: {score: {layers: 1, width: 8}, steps: 40, report_every_steps: 20, evaluate_every_steps: 20}
"""
STAND_INS = {
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "scontrol": '[[ $1 == show ]] && echo "first second" | tr " " "\\n" || echo "$@" >> "$SLURM_SUBMIT_DIR/scontrol.txt"',
    "hostname": "echo 127.0.0.1",
    "mktemp": '[[ $* == "-d /tmp/ray-XXXXXX" ]] && mkdir "/tmp/ray-$SLURM_JOB_ID" && echo "/tmp/ray-$SLURM_JOB_ID"',
}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_slurm_script_makes_a_cluster_of_two_nodes_and_runs_on_both(tmp_path: Path) -> None:
    """SLURM's own commands are stand-ins that run everything here; Ray's two nodes, of one CPU each, and the run are real."""
    stand_ins = tmp_path / "bin"
    stand_ins.mkdir()
    for name, body in STAND_INS.items():
        (stand_ins / name).write_text(f"#!/bin/bash\n{body}\n")
        (stand_ins / name).chmod(0o755)
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    (tmp_path / "tiny.yaml").write_text(EXPERIMENT)
    environment = os.environ | {
        "PATH": f"{stand_ins}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "ARDAE_RL_PYTHON": sys.executable,
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "first,second",
        "SLURM_CPUS_PER_TASK": "1",
    }
    log = tmp_path / "output.txt"
    with log.open("w") as file:
        command = ["bash", str(DEPLOY / "slurm.sh"), "tiny.yaml", "--storage-path", str(tmp_path / "runs")]
        job = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
    try:
        assert job.wait(350) == 0, log.read_text()
    finally:
        job.terminate()
        with suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGTERM)  # what the script left behind, if it was cut off
        shutil.rmtree(f"/tmp/ray-{os.getpid()}", ignore_errors=True)
    assert "Trials:      2, 2 at a time: seed=0, seed=1" in log.read_text()
    assert not (tmp_path / "scontrol.txt").exists(), "only a job that was interrupted queues again"
