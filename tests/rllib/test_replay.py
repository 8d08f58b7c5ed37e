"""The replay ring against a slow list twin, the uniformity of its draws, and checkpoints that outlive full disks and killed processes."""

import json
import multiprocessing
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from ardae_rl.rllib.replay import CHUNK_ROWS, MANIFEST, ReplayBuffer

OBS_DIM, ACTION_DIM = 3, 2
COLUMNS = ("obs", "actions", "rewards", "new_obs", "terminateds")


def make_buffer(
    capacity: int = 2 * CHUNK_ROWS + 1000, *, obs_dim: int = OBS_DIM, action_dim: int = ACTION_DIM, seed: int = 0
) -> ReplayBuffer:
    return ReplayBuffer(capacity=capacity, obs_dim=obs_dim, action_dim=action_dim, seed=seed)


def save(buffer: ReplayBuffer, directory: Path) -> None:
    """Save where the checkpoint stays."""
    buffer.save(directory)
    buffer.remember(directory)


def numbered(first: int, count: int, *, obs_dim: int = OBS_DIM, action_dim: int = ACTION_DIM) -> dict[str, np.ndarray]:
    """Transitions first, first + 1, ...: each entry tells from which transition, column and position it comes."""
    number = np.arange(first, first + count, dtype=np.float64)
    return {
        "obs": number[:, None] + np.arange(obs_dim) / 8,
        "actions": -number[:, None] - np.arange(action_dim) / 8,
        "rewards": number,
        "new_obs": number[:, None] + 0.5 + np.arange(obs_dim) / 8,
        "terminateds": number % 3 == 0,
    }


def test_observations_are_those_held_and_looking_changes_no_draw() -> None:
    watched, twin = make_buffer(50), make_buffer(50)
    for buffer in (watched, twin):
        buffer.add(numbered(0, 80))
    seen = watched.observations(2000, np.random.default_rng(1))
    assert seen.shape == (2000, OBS_DIM) and set(seen[:, 0].tolist()) == set(range(30, 80))
    np.testing.assert_array_equal(seen[:, 1], seen[:, 0] + 1 / 8)
    assert_equal_draws(watched, twin)


def random_transitions(count: int, *, obs_dim: int, action_dim: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    widths = {"obs": (obs_dim,), "actions": (action_dim,), "rewards": (), "new_obs": (obs_dim,), "terminateds": ()}
    return {name: rng.standard_normal((count, *width), dtype=np.float32) for name, width in widths.items()}


def assert_equal_draws(one: ReplayBuffer, other: ReplayBuffer) -> None:
    for count in (1, 7, 500):
        mine, theirs = one.sample(count), other.sample(count)
        assert all(mine[name].tobytes() == theirs[name].tobytes() for name in COLUMNS)


def stored_rewards(directory: Path) -> np.ndarray:
    """The rewards in a checkpoint in ring order, read without the buffer: the column after obs and actions."""
    chunks = [load_file(path)["rows"][:, OBS_DIM + ACTION_DIM] for path in sorted(directory.glob("chunk-*"))]
    return np.concatenate([np.empty(0, np.float32), *chunks])


def inodes(directory: Path) -> list[int]:
    return [path.stat().st_ino for path in sorted(directory.glob("chunk-*"))]


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# ---- the ring


@settings(derandomize=True, deadline=None)
@given(capacity=st.integers(1, 12), counts=st.lists(st.integers(0, 30), max_size=12))
def test_ring_holds_what_a_list_cut_to_its_last_entries_holds(capacity: int, counts: list[int]) -> None:
    buffer, added = make_buffer(capacity), 0
    twin: list[int] = []
    for count in counts:
        buffer.add(numbered(added, count))
        added += count
        twin = [*twin, *range(added - count, added)][-capacity:]
        assert (len(buffer), buffer.num_added) == (len(twin), added)
    if twin:
        drawn = buffer.sample(40 * capacity)
        assert set(drawn["rewards"]) <= set(twin)
        # a row is missed with probability < exp(-40): an overwritten, lost or half-written row shows
        assert set(drawn["rewards"]) == set(twin)


@settings(derandomize=True, deadline=None)
@given(capacity=st.integers(1, 9), counts=st.lists(st.integers(0, 20), min_size=1, max_size=6))
def test_every_drawn_row_is_one_whole_transition(capacity: int, counts: list[int]) -> None:
    buffer = make_buffer(capacity)
    buffer.add(numbered(0, 1))
    for count in counts:
        buffer.add(numbered(buffer.num_added, count))
    for index, number in enumerate((drawn := buffer.sample(50))["rewards"]):
        expected = numbered(int(number), 1)
        assert all(np.array_equal(drawn[name][index], expected[name][0]) for name in COLUMNS)


def test_one_call_with_more_than_the_capacity_leaves_the_ring_as_many_small_calls_do(tmp_path: Path) -> None:
    at_once, one_by_one = make_buffer(7), make_buffer(7)
    for buffer in (at_once, one_by_one):
        buffer.add(numbered(0, 4))
    at_once.add(numbered(4, 25))
    for number in range(4, 29):
        one_by_one.add(numbered(number, 1))
    save(at_once, tmp_path / "at_once")
    save(one_by_one, tmp_path / "one_by_one")
    assert stored_rewards(tmp_path / "at_once").tolist() == stored_rewards(tmp_path / "one_by_one").tolist() == [28, 22, 23, 24, 25, 26, 27]


@pytest.mark.parametrize("count", [1, 5])
def test_drawn_columns_are_new_contiguous_float32_arrays(count: int) -> None:
    buffer = make_buffer()
    buffer.add(numbered(0, 100))
    drawn = buffer.sample(count)
    shapes = {"obs": (count, 3), "actions": (count, 2), "rewards": (count,), "new_obs": (count, 3), "terminateds": (count,)}
    assert {name: values.shape for name, values in drawn.items()} == shapes
    assert all(values.dtype == np.float32 and values.flags.c_contiguous and values.flags.owndata for values in drawn.values())
    assert set(drawn["terminateds"]) <= {0.0, 1.0}
    kept = {name: values.copy() for name, values in drawn.items()}
    for _ in range(10):
        buffer.sample(count)
    assert all(np.array_equal(drawn[name], kept[name]) for name in COLUMNS), "a later draw changed an earlier one"
    for values in drawn.values():
        values.fill(-1)
    assert -1 not in buffer.sample(1000)["rewards"], "writing to a draw changed the buffer"


def test_later_changes_of_the_added_arrays_do_not_reach_the_buffer() -> None:
    buffer, transitions = make_buffer(), numbered(1, 10)
    buffer.add(transitions)
    for values in transitions.values():
        values.fill(0)
    assert buffer.sample(100)["rewards"].min() >= 1


# ---- the draws


@pytest.mark.parametrize(("added", "capacity"), [(60, 100), (100, 100), (250, 100)], ids=["part full", "full", "wrapped"])
def test_draws_are_uniform_over_what_is_held(added: int, capacity: int) -> None:
    buffer, draws = make_buffer(capacity, seed=3), 100_000
    buffer.add(numbered(0, added))
    held = len(buffer)
    counts = np.bincount(buffer.sample(draws)["rewards"].astype(int) - (added - held), minlength=held)
    chi_square, freedom = ((counts - draws / held) ** 2 / (draws / held)).sum(), held - 1
    assert abs(chi_square - freedom) < 4 * np.sqrt(2 * freedom)  # two-sided: draws without replacement would come out too even


def test_successive_draws_are_independent() -> None:
    buffer, draws = make_buffer(100, seed=4), 50_000
    buffer.add(numbered(0, 100))
    drawn = buffer.sample(draws)["rewards"]
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 4 / np.sqrt(draws)


def test_the_seed_alone_decides_the_draws() -> None:
    one, same, other = make_buffer(seed=5), make_buffer(seed=5), make_buffer(seed=6)
    for buffer in (one, same, other):
        buffer.add(numbered(0, 1000))
    np.random.seed(0)  # numpy's global generator must have no influence
    assert_equal_draws(one, same)
    assert not np.array_equal(one.sample(100)["rewards"], other.sample(100)["rewards"])


# ---- size and speed


@pytest.mark.parametrize(("obs_dim", "action_dim", "floats"), [(17, 6, 42), (348, 17, 715)], ids=["HalfCheetah", "Humanoid"])
def test_nbytes_is_four_bytes_per_number_and_fixed_from_the_start(obs_dim: int, action_dim: int, floats: int) -> None:
    buffer = make_buffer(1000, obs_dim=obs_dim, action_dim=action_dim)
    assert buffer.nbytes == 1000 * floats * 4
    buffer.add(random_transitions(10, obs_dim=obs_dim, action_dim=action_dim))
    assert (buffer.nbytes, buffer.capacity, len(buffer)) == (1000 * floats * 4, 1000, 10)


def test_an_empty_buffer_takes_no_memory_for_what_it_does_not_hold_yet() -> None:
    before = resident_bytes()
    buffer = make_buffer(1_000_000, obs_dim=348, action_dim=17)
    buffer.add(random_transitions(100, obs_dim=348, action_dim=17))
    assert buffer.nbytes > 2.8e9
    assert resident_bytes() - before < 0.1 * buffer.nbytes


def memory_of_a_full_buffer() -> tuple[int, int]:
    part = random_transitions(1000, obs_dim=348, action_dim=17)
    before = resident_bytes()
    buffer = make_buffer(100_000, obs_dim=348, action_dim=17)
    for _ in range(150):
        buffer.add(part)
        buffer.sample(256)
    return resident_bytes() - before, buffer.nbytes


def test_a_full_buffer_takes_the_memory_of_its_numbers_and_no_more_however_long_it_is_used() -> None:
    """286 MB of Humanoid, filled once and a half, and drawn from, in a process without memory that other tests have given up;
    3% for what the allocator keeps of parts that are gone."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        taken, nbytes = pool.submit(memory_of_a_full_buffer).result()
    assert taken == pytest.approx(nbytes, rel=0.03)


def test_sampling_a_half_cheetah_batch_takes_less_than_a_millisecond() -> None:
    buffer, seconds = make_buffer(200_000, obs_dim=17, action_dim=6), []
    buffer.add(random_transitions(200_000, obs_dim=17, action_dim=6))
    for _ in range(201):
        start = time.perf_counter()
        buffer.sample(256)
        seconds.append(time.perf_counter() - start)
    assert statistics.median(seconds) < 1e-3


# ---- checkpoints


@pytest.mark.parametrize("added", [0, 10, CHUNK_ROWS, CHUNK_ROWS + 1, 2 * CHUNK_ROWS + 1000, 3 * CHUNK_ROWS, 100_000])
def test_a_loaded_buffer_goes_on_as_the_saved_one(tmp_path: Path, added: int) -> None:
    saved, loaded = make_buffer(seed=1), make_buffer(seed=2)
    saved.add(numbered(0, added))
    if added:
        saved.sample(3)  # an odd number of 32-bit draws: half a 64-bit word waits inside the generator
    save(saved, tmp_path / "checkpoint")
    loaded.add(numbered(7, 50))
    loaded.load(tmp_path / "checkpoint")
    assert (len(loaded), loaded.num_added) == (len(saved), saved.num_added) == (min(added, saved.capacity), added)
    for number in (added, added + 30):
        for buffer in (saved, loaded):
            buffer.add(numbered(number, 30))
        assert_equal_draws(saved, loaded)


def test_saving_does_not_change_the_draws(tmp_path: Path) -> None:
    saved, unsaved = make_buffer(), make_buffer()
    for buffer in (saved, unsaved):
        buffer.add(numbered(0, 100))
    save(saved, tmp_path / "checkpoint")
    assert_equal_draws(saved, unsaved)


def test_the_manifest_says_what_the_directory_holds_and_only_filled_rows_are_written(tmp_path: Path) -> None:
    buffer = make_buffer(1_000_000)
    buffer.add(numbered(0, CHUNK_ROWS + 5))
    save(buffer, tmp_path / "new" / "parents" / "checkpoint")
    manifest = json.loads((tmp_path / "new" / "parents" / "checkpoint" / MANIFEST).read_text())
    names = ["chunk-00000.safetensors", "chunk-00001.safetensors"]
    assert manifest.pop("rng_state")["bit_generator"] == "PCG64"
    assert manifest == {
        "format_version": 1,
        "capacity": 1_000_000,
        "obs_dim": OBS_DIM,
        "action_dim": ACTION_DIM,
        "chunk_rows": CHUNK_ROWS,
        "num_added": CHUNK_ROWS + 5,
    }
    assert sorted(path.name for path in (tmp_path / "new" / "parents" / "checkpoint").iterdir()) == [*names, MANIFEST]
    assert stored_rewards(tmp_path / "new" / "parents" / "checkpoint").tolist() == list(range(CHUNK_ROWS + 5))


@pytest.mark.parametrize("reload", [False, True], ids=["same buffer", "restored buffer"])
@pytest.mark.parametrize("capacity", [100, CHUNK_ROWS, 2 * CHUNK_ROWS, 2 * CHUNK_ROWS + 1000])
def test_exactly_the_chunks_whose_contents_changed_are_written_again(tmp_path: Path, capacity: int, reload: bool) -> None:
    buffer, old = make_buffer(capacity), tmp_path / "none"
    counts = [0, 1, 99, 1000, 9000, CHUNK_ROWS - 1, CHUNK_ROWS, 2 * CHUNK_ROWS, 90_000] * 3
    for step, count in enumerate(np.random.default_rng(0).permutation(counts)):
        buffer.add(numbered(buffer.num_added, count))
        new = tmp_path / str(step)
        save(buffer, new)
        held = range(buffer.num_added - len(buffer), buffer.num_added)
        assert stored_rewards(new).tolist() == sorted(held, key=lambda number: number % capacity)
        for path in new.iterdir():
            if path.name != MANIFEST and (old / path.name).exists():
                assert path.samefile(old / path.name) == (path.read_bytes() == (old / path.name).read_bytes())
        if reload:
            buffer = make_buffer(capacity)
            buffer.load(new)
        shutil.rmtree(old, ignore_errors=True)
        old = new


def test_a_little_new_data_costs_one_chunk_wherever_the_ring_stands(tmp_path: Path) -> None:
    buffer = make_buffer(3 * CHUNK_ROWS)
    buffer.add(numbered(0, 3 * CHUNK_ROWS + CHUNK_ROWS + 10))
    save(buffer, tmp_path / "1")
    buffer.add(numbered(buffer.num_added, 10))
    save(buffer, tmp_path / "2")
    save(buffer, tmp_path / "3")
    assert [one == two for one, two in zip(inodes(tmp_path / "1"), inodes(tmp_path / "2"), strict=True)] == [True, False, True]
    assert inodes(tmp_path / "3") == inodes(tmp_path / "2")


def test_a_save_that_came_to_nothing_costs_the_next_no_link(tmp_path: Path) -> None:
    buffer = make_buffer()
    buffer.add(numbered(0, CHUNK_ROWS + 5))
    save(buffer, tmp_path / "1")
    buffer.add(numbered(buffer.num_added, 5))
    buffer.save(tmp_path / "failed" / "replay")
    shutil.rmtree(tmp_path / "failed")
    buffer.save(tmp_path / "2")
    assert [one == two for one, two in zip(inodes(tmp_path / "1"), inodes(tmp_path / "2"), strict=True)] == [True, False]
    assert stored_rewards(tmp_path / "2").tolist() == list(range(CHUNK_ROWS + 10))


@pytest.mark.parametrize("deleted", ["old", "new"])
def test_deleting_one_checkpoint_never_harms_another(tmp_path: Path, deleted: str) -> None:
    buffer = make_buffer()
    buffer.add(numbered(0, 2 * CHUNK_ROWS))
    save(buffer, tmp_path / "old")
    buffer.add(numbered(buffer.num_added, 5))
    save(buffer, tmp_path / "new")
    assert set(inodes(tmp_path / "old")) <= set(inodes(tmp_path / "new")), "nothing is shared: this test would show nothing"
    kept = "new" if deleted == "old" else "old"
    expected = stored_rewards(tmp_path / kept)
    shutil.rmtree(tmp_path / deleted)
    loaded = make_buffer()
    loaded.load(tmp_path / kept)
    assert loaded.num_added == len(expected)
    assert stored_rewards(tmp_path / kept).tolist() == expected.tolist()


def test_a_save_after_the_previous_checkpoint_is_gone_is_complete(tmp_path: Path) -> None:
    buffer = make_buffer()
    buffer.add(numbered(0, CHUNK_ROWS + 5))
    save(buffer, tmp_path / "1")
    shutil.rmtree(tmp_path / "1")
    save(buffer, tmp_path / "2")
    assert stored_rewards(tmp_path / "2").tolist() == list(range(CHUNK_ROWS + 5))


def test_a_foreign_checkpoint_that_took_the_place_of_the_previous_one_is_not_linked_to(tmp_path: Path) -> None:
    buffer, stranger = make_buffer(), make_buffer()
    buffer.add(numbered(0, 100))
    stranger.add(numbered(5000, 100))
    save(buffer, tmp_path / "1")
    shutil.rmtree(tmp_path / "1")
    save(stranger, tmp_path / "1")
    save(buffer, tmp_path / "2")
    assert stored_rewards(tmp_path / "2").tolist() == list(range(100))


def test_damage_to_an_old_file_does_not_spread_to_later_checkpoints(tmp_path: Path) -> None:
    buffer = make_buffer()
    buffer.add(numbered(0, 100))
    save(buffer, tmp_path / "1")
    chunk = tmp_path / "1" / "chunk-00000.safetensors"
    chunk.write_bytes(chunk.read_bytes()[:-4] + b"oops")
    save(buffer, tmp_path / "2")
    assert load_file(tmp_path / "2" / chunk.name)["rows"].shape == (100, 2 * OBS_DIM + ACTION_DIM + 2)
    assert b"oops" not in (tmp_path / "2" / chunk.name).read_bytes()


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs a second writable file system, /dev/shm")
def test_another_file_system_gets_written_files_instead_of_links(tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm") / f"{tmp_path.name}-{os.getpid()}"
    assert os.stat("/dev/shm").st_dev != tmp_path.stat().st_dev, "not another file system: this test would show nothing"
    buffer = make_buffer()
    buffer.add(numbered(0, 100))
    save(buffer, tmp_path / "here")
    try:
        save(buffer, elsewhere)
        assert stored_rewards(elsewhere).tolist() == list(range(100))
    finally:
        shutil.rmtree(elsewhere, ignore_errors=True)


def test_links_are_found_after_the_process_changed_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = make_buffer()
    buffer.add(numbered(0, 100))
    monkeypatch.chdir(tmp_path)
    save(buffer, Path("1"))
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    save(buffer, Path("2"))
    assert inodes(tmp_path / "1") == inodes(tmp_path / "sub" / "2")


# ---- crashes

SAVE_AGAIN_AND_AGAIN = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from tests.rllib.test_replay import make_buffer, numbered, save
buffer = make_buffer()
for step in range(200):
    buffer.add(numbered(buffer.num_added, 9000))
    save(buffer, Path(sys.argv[1]) / f"{step:06d}")
    print(step, flush=True)
"""


def second_chunk_begun(root: Path) -> bool:
    try:
        return bool(list(root.glob("*.partial/chunk-00001*")))
    except FileNotFoundError:  # renamed while it was looked into
        return False


def kill_while_saving(root: Path) -> None:
    """Let a real process save checkpoints and kill -9 it as soon as, after four of them, one more is being written."""
    command = [sys.executable, "-c", SAVE_AGAIN_AND_AGAIN, str(root), str(Path(__file__).parents[2])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "3\n":
            assert process.poll() is None, "the saving process died by itself"
        while not second_chunk_begun(root):
            assert process.poll() is None, "the saving process died by itself"
        process.send_signal(signal.SIGKILL)


def test_kill_in_the_middle_of_saving_leaves_only_complete_checkpoints(tmp_path: Path) -> None:
    interrupted = 0
    for root in (tmp_path / str(attempt) for attempt in range(4)):
        kill_while_saving(root)
        interrupted += len(list(root.glob("*.partial")))
        complete = sorted(path for path in root.iterdir() if path.suffix != ".partial")
        assert len(complete) >= 4
        for step, path in enumerate(complete):
            buffer = make_buffer()
            buffer.load(path)
            assert buffer.num_added == 9000 * (step + 1)
            assert sorted(stored_rewards(path)) == list(range(buffer.num_added - len(buffer), buffer.num_added))
        save(buffer, root / f"{len(complete):06d}")  # the very directory the killed process was writing aside
        assert not list(root.glob("*.partial"))
    assert interrupted, "no kill hit a save: this test showed nothing"


def test_what_an_interrupted_save_left_is_no_checkpoint_and_gives_way_to_the_next_save(tmp_path: Path) -> None:
    buffer, left_over = make_buffer(), tmp_path / ".checkpoint.partial"
    buffer.add(numbered(0, 2 * CHUNK_ROWS))
    save(buffer, tmp_path / "source")
    shutil.copytree(tmp_path / "source", left_over)
    (left_over / MANIFEST).unlink()  # it is written last
    (left_over / "chunk-00009.safetensors").write_bytes(b"junk")
    with pytest.raises(ValueError, match="is not a replay checkpoint"):
        make_buffer().load(left_over)
    save(buffer, tmp_path / "checkpoint")
    assert not left_over.exists()
    assert sorted(os.listdir(tmp_path / "checkpoint")) == sorted(os.listdir(tmp_path / "source"))


FILL_THE_DISK = """
import resource, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from tests.rllib.test_replay import make_buffer, numbered, save
buffer, root = make_buffer(), Path(sys.argv[1])
buffer.add(numbered(0, 20_000))
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
try:
    save(buffer, root / "checkpoint")
except OSError as error:
    print("refused", error.strerror, len(list(root.iterdir())))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
save(buffer, root / "checkpoint")
"""


def test_a_save_the_disk_refuses_raises_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    repository = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", FILL_THE_DISK, str(tmp_path), repository], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "refused File too large 0\n"
    assert stored_rewards(tmp_path / "checkpoint").tolist() == list(range(20_000))


# ---- bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"capacity": 0}, "capacity of a replay buffer must be 1 or greater, got 0"),
        ({"obs_dim": -3}, "obs_dim of a replay buffer must be 1 or greater, got -3"),
        ({"action_dim": 0}, "action_dim of a replay buffer must be 1 or greater, got 0"),
        ({"seed": -1}, "seed of a replay buffer must be 0 or greater, got -1"),
    ],
)
def test_a_senseless_size_is_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_buffer(**({"capacity": 10} | change))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"obs": None}, ValueError, "exactly the columns obs, actions, rewards, new_obs, terminateds; got actions, rewards, new_obs, term"),
        ({"dones": np.zeros(4)}, ValueError, "exactly the columns .* got .*, dones.*Rename, add or drop"),
        ({"obs": np.zeros((4, 5))}, ValueError, r"'obs' must have shape \(4, 3\) .*obs_dim = 3.*got \(4, 5\).*spaces flattened"),
        ({"new_obs": np.zeros((3, 3))}, ValueError, r"'new_obs' must have shape \(4, 3\) .*got \(3, 3\)"),
        ({"actions": np.zeros(4)}, ValueError, r"'actions' must have shape \(4, 2\) .*action_dim = 2.*got \(4,\)"),
        ({"rewards": np.zeros((4, 1))}, ValueError, r"'rewards' must have shape \(4,\) .*got \(4, 1\).*without a second axis"),
        ({"terminateds": np.zeros(5)}, ValueError, r"'terminateds' must have shape \(4,\) .*got \(5,\)"),
        ({"rewards": np.array(list("abcd"))}, TypeError, "'rewards' must hold real numbers or booleans, got dtype <U1"),
        ({"obs": np.zeros((4, 3), complex)}, TypeError, "'obs' must hold real numbers or booleans, got dtype complex128"),
    ],
)
def test_malformed_transitions_are_refused_and_nothing_is_added(
    change: dict[str, np.ndarray | None], error: type[Exception], message: str
) -> None:
    buffer = make_buffer()
    buffer.add(numbered(0, 2))
    transitions = {name: values for name, values in (numbered(2, 4) | change).items() if values is not None}
    with pytest.raises(error, match=message):
        buffer.add(transitions)
    assert buffer.num_added == 2
    assert set(buffer.sample(100)["rewards"]) == {0, 1}


def test_sampling_from_an_empty_buffer_or_no_rows_is_refused() -> None:
    buffer = make_buffer()
    with pytest.raises(ValueError, match=r"cannot sample from an empty replay buffer\. Add transitions"):
        buffer.sample(1)
    buffer.add(numbered(0, 1))
    with pytest.raises(ValueError, match="transitions to sample must be 1 or greater, got 0"):
        buffer.sample(0)


@pytest.mark.parametrize("create", [Path.mkdir, Path.touch], ids=["directory", "file"])
def test_a_save_never_overwrites(tmp_path: Path, create: Callable[[Path], None]) -> None:
    create(tmp_path / "taken")
    with pytest.raises(ValueError, match=r"taken exists already\. Choose a new directory"):
        make_buffer().save(tmp_path / "taken")
    assert os.listdir(tmp_path) == ["taken"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"capacity": 99}, "expected capacity 99, got 33768. Restore with the replay capacity"),
        ({"obs_dim": 4}, "expected obs_dim 4, got 3. Restore with the environment"),
        ({"action_dim": 1}, "expected action_dim 1, got 2. Restore with the environment"),
    ],
)
def test_a_checkpoint_of_another_buffer_is_refused(tmp_path: Path, change: dict[str, int], message: str) -> None:
    saved = make_buffer()
    saved.add(numbered(0, 10))
    save(saved, tmp_path / "checkpoint")
    with pytest.raises(ValueError, match=message):
        make_buffer(**change).load(tmp_path / "checkpoint")


def edit_manifest(**change: object) -> Callable[[Path], None]:
    def edit(directory: Path) -> None:
        (directory / MANIFEST).write_text(json.dumps(json.loads((directory / MANIFEST).read_text()) | change))

    return edit


def truncate(name: str, keep: int) -> Callable[[Path], object]:
    return lambda directory: (directory / name).write_bytes((directory / name).read_bytes()[:keep])


def replace_by_a_file(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.touch()


def replace_chunk(**tensors: np.ndarray) -> Callable[[Path], None]:
    return lambda directory: save_file(tensors, directory / "chunk-00001.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda directory: shutil.rmtree(directory),
            "is not a replay checkpoint: expected a directory holding manifest.json. Check the path",
        ),
        (replace_by_a_file, "is not a replay checkpoint"),
        (lambda directory: (directory / MANIFEST).unlink(), "is not a replay checkpoint"),
        (truncate(MANIFEST, 50), "manifest.json is not valid JSON"),
        (lambda directory: (directory / MANIFEST).write_text("[]"), "manifest.json must hold a JSON object, got list"),
        (edit_manifest(format_version=2), "expected format_version 1, got 2. Load it with the version"),
        (edit_manifest(chunk_rows=5), f"expected chunk_rows {CHUNK_ROWS}, got 5. Load it with the version"),
        (edit_manifest(capacity=None), "expected capacity 33768, got None"),
        (edit_manifest(num_added="many"), "must hold num_added as an integer of 0 or greater, got 'many'"),
        (edit_manifest(num_added=-1), "must hold num_added as an integer of 0 or greater, got -1"),
        (edit_manifest(num_added=CHUNK_ROWS + 6), r"chunk-00001.safetensors must hold .*shape \(6, 10\), got F32 of shape \(5, 10\)"),
        (edit_manifest(rng_state={"bit_generator": "MT19937"}), "must hold rng_state as a state of numpy's PCG64"),
        (edit_manifest(rng_state=None), "must hold rng_state as a state of numpy's PCG64, got None"),
        (lambda directory: (directory / "chunk-00001.safetensors").unlink(), "chunk-00001.safetensors is missing.*restore an earlier one"),
        (truncate("chunk-00001.safetensors", -1), "chunk-00001.safetensors cannot be read.*restore an earlier one"),
        (truncate("chunk-00001.safetensors", 4), "chunk-00001.safetensors cannot be read"),
        (truncate("chunk-00000.safetensors", 0), "chunk-00000.safetensors cannot be read"),
        (replace_chunk(other=np.zeros((5, 10), np.float32)), "chunk-00001.safetensors cannot be read"),
        (replace_chunk(rows=np.zeros((5, 10), np.float64)), r"chunk-00001.safetensors must hold float32 .*got F64 of shape \(5, 10\)"),
    ],
)
def test_a_damaged_checkpoint_is_refused_by_name_and_the_buffer_stays_as_it_was(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    saved, loading, untouched = make_buffer(), make_buffer(seed=8), make_buffer(seed=8)
    saved.add(numbered(0, CHUNK_ROWS + 5))
    save(saved, tmp_path / "checkpoint")
    damage(tmp_path / "checkpoint")
    for buffer in (loading, untouched):
        buffer.add(numbered(900, 20))
    with pytest.raises(ValueError, match=message):
        loading.load(tmp_path / "checkpoint")
    assert_equal_draws(loading, untouched)
