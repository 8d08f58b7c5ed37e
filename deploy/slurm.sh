#!/usr/bin/env bash
# A Ray cluster inside a SLURM allocation, and one run on it. From the project's folder, which every node mounts:
#   sbatch deploy/slurm.sh tune_configs/humanoid.yaml --seeds 5
# Five minutes before its time is over the run writes checkpoints, and the job queues again and continues from them.
#SBATCH --job-name=ardae-rl
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

python=${ARDAE_RL_PYTHON:-$SLURM_SUBMIT_DIR/.venv/bin/python}
ray=(env "PATH=$(dirname "$python"):$PATH" ray)
cd "$SLURM_SUBMIT_DIR"
umask 077

# Two jobs may share a node, and anyone on the network can knock: ports, temporary folder and token are this job's own.
port=$((20000 + SLURM_JOB_ID % 10000))
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
export RAY_JOB_STOP_WAIT_TIME_S=240            # for the checkpoints of a run that `ray job stop` ends; 3 s if not set
export RAY_task_events_max_num_task_in_gcs=10000 # else the head grows by 130 MB an hour: docs/faults.md
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # since 22.05 srun does not take it from the allocation: Ray would share one core
RAY_AUTH_TOKEN=$("$python" -c 'import secrets; print(secrets.token_hex(32))')
node=(--dashboard-agent-listen-port=0 --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}")

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
ip=$(srun --nodes=1 --ntasks=1 --nodelist="${nodes[0]}" hostname -I | cut -d' ' -f1)
temporary=$(srun --nodes=1 --ntasks=1 --nodelist="${nodes[0]}" mktemp -d /tmp/ray-XXXXXX) # a name that others on the node cannot take before
srun --nodes=1 --ntasks=1 --nodelist="${nodes[0]}" "${ray[@]}" start --head --block --node-ip-address="$ip" --port="$port" \
  --ray-client-server-port=$((port + 10000)) --temp-dir="$temporary" --dashboard-host=127.0.0.1 --dashboard-port=$((port + 20000)) \
  "${node[@]}" &
pids=($!)
if ((${#nodes[@]} > 1)); then
  # shellcheck disable=SC2016 # the inner bash expands them
  srun --nodes=$((${#nodes[@]} - 1)) --ntasks=$((${#nodes[@]} - 1)) --exclude="${nodes[0]}" bash -c \
    'until (exec 3<>"/dev/tcp/$0/$1") 2>/dev/null; do sleep 1; done; exec "${@:2}"' \
    "$ip" "$port" "${ray[@]}" start --block --address="$ip:$port" "${node[@]}" &
  pids+=($!)
fi
trap 'kill "${pids[@]}" 2>/dev/null || true' EXIT

timeout 600 "$python" - "$ip:$port" "${#nodes[@]}" <<'PYTHON' &
import sys, time
import ray

address, count = sys.argv[1], int(sys.argv[2])
while True:
    try:
        ray.init(address=address, logging_level="ERROR", log_to_driver=False)
        break
    except ConnectionError:
        time.sleep(1)
while sum(node["Alive"] for node in ray.nodes()) < count:
    time.sleep(1)
PYTHON
pids+=($!)
if ! wait -n "${pids[@]}"; then # the first to end should be the one that waits for the nodes
  echo "The Ray cluster did not start: a node ended, or not all ${#nodes[@]} were there after ten minutes. Ray's messages are above." >&2
  exit 1
fi

"$python" scripts/tune.py "$@" --auto-resume --address "$ip:$port" &
driver=$!
trap 'kill -TERM "$driver"' TERM
code=0
wait "$driver" || code=$?
while kill -0 "$driver" 2>/dev/null; do # the signal ended the first wait
  code=0
  wait "$driver" || code=$?
done
if ((code == 143)); then # stopped by the signal, with checkpoints
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
