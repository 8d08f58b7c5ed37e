"""A file and options become one typed experiment, or a list of every mistake with where it is and how to repair it."""

import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ardae_rl.experiment.load import load_experiment, shortened
from ardae_rl.experiment.preflight import OUTPUT, RECORD
from ardae_rl.experiment.problems import InvalidExperimentError, Problem
from ardae_rl.experiment.schema import to_yaml
from ardae_rl.rllib.settings import TrainingSettings

Write = Callable[..., Path]
CONFIGS = Path(__file__).parents[2] / "tune_configs"


def mistakes(path: Path, *assignments: str, **options: str) -> list[str]:
    with pytest.raises(InvalidExperimentError) as caught:
        load_experiment(path, assignments=assignments, **options)  # type: ignore[arg-type]
    return [str(problem) for problem in caught.value.problems]


def test_what_is_left_out_keeps_the_defaults(write: Write) -> None:
    experiment = load_experiment(write())
    assert experiment.config == TrainingSettings()
    assert experiment.seed_list == [0]
    assert experiment.storage_path == "./runs"


def test_numbers_arrive_with_their_declared_type(write: Write) -> None:
    experiment = load_experiment(write("config: {sac: {actor_lr: 3e-4, alpha: 1, gamma: 1}, replay: {capacity: 1e6}}"))
    assert experiment.config.sac.actor_lr == 3e-4
    assert (experiment.config.replay.capacity, type(experiment.config.replay.capacity)) == (1_000_000, int)
    assert type(experiment.config.sac.gamma) is float


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("config: {sac: {score: {action_layers: 1}}}", "5: config.sac.score.action_layers: unknown key; it is now 'score.input_layers'"),
        ("sead: 1", "5: sead: unknown key; did you mean 'seeds'?"),
        ("alpha: 1", "5: alpha: unknown key here; did you mean 'config.sac.alpha'?"),
        ("config: {sac: {critic: {widht: 3}}}", "5: config.sac.critic.widht: unknown key; did you mean 'width'?"),
        (
            "config: {replay: {foo: 1}}",
            "5: config.replay.foo: unknown key; valid names: capacity, batch_size, warmup_env_steps, updates_per_env_step",
        ),
        ("config: {sac: {alpha: {x: 1}}}", "5: config.sac.alpha: must be 'auto' or a number, got {x: 1}"),
        ("seeds: 0", "5: seeds: must be between 1 and 1000 of them, got 0"),
        ("seeds: -2", "5: seeds: must be 0 or greater, got -2"),
        ("seeds: 1e9", "5: seeds: must be between 1 and 1000 of them, got 1000000000"),
        ("seeds: [1, 1]", "5: seeds: must be all different, got [1, 1]"),
        ("seeds: [4294967295]", "5: seeds: must be at most 4,000,000,000 each with SAC, got [4294967295]"),
        ('storage_path: "$NOT_SET_ANYWHERE/x"', "5: storage_path: must be a directory whose variables are set, got '$NOT_SET_ANYWHERE/x'"),
        ("bases: x.yaml", "5: bases: unknown key; did you mean 'base'?"),
        ("config: {sac: {alpha: '0.2'}}", "5: config.sac.alpha: must be 'auto' or a number, got the text '0.2' (write it without quotes)"),
        (
            "config: {sac: {target_calibration: 'true'}}",
            "5: config.sac.target_calibration: must be true or false, got the text 'true' (write it without quotes)",
        ),
        (
            "config: {env_config: {render_mode: human}}",
            "5: config.env_config.render_mode: must be another than human, "
            "which opens a window for every copy of the environment, got 'human'",
        ),
        ("config: {learners: {num_cpus_per_learner: 0}}", "5: config.learners.num_cpus_per_learner: must be greater than 0, got 0"),
        (
            "config: {env_runners: {num_cpus_per_env_runner: 0}}",
            "5: config.env_runners.num_cpus_per_env_runner: must be greater than 0, got 0",
        ),
        ("seeds: [1, -1]", "5: seeds: must be 0 or greater, got [1, -1]"),
        ("seeds: [1, two]", "5: seeds.1: must be a whole number, got the text 'two'"),
        ("seeds: true", "5: seeds: must be a whole number or a list of whole numbers, got true"),
        ("max_failures: -2", "5: max_failures: must be -1 or greater, got -2"),
        ("storage_path: ~nobody-here/runs", "5: storage_path: must be the path of a directory there is or can be, got '~nobody-here/runs'"),
        ('storage_path: "a\\0b"', "5: storage_path: must be the path of a directory there is or can be, got 'a\\x00b'"),
        ('"se\\e[2Jed": 1', "5: se\\x1b[2Jed: unknown key; did you mean 'seeds'?"),
        (
            "grid_search: {env_config.a: [b/c, b_c]}",
            "5: grid_search: {env_config.a: b/c, seed: 0}, {env_config.a: b_c, seed: 0} "
            "would share the folder 'a=b_c_seed=0'; leave all but one out",
        ),
        (
            "grid_search: {sac.jacobian_clamping: [null], sac.jacobian_clamping.xi: [0.1]}",
            "5: grid_search: varies both 'sac.jacobian_clamping' and 'sac.jacobian_clamping.xi', "
            "which is a part of it; vary the one or the other",
        ),
        (
            f"grid_search: {{sac.tau: {[i / 1000 for i in range(1, 201)]}, sac.gamma: {[i / 1000 for i in range(1, 201)]}}}",
            "5: grid_search: must be at most 10,000 trials, counting every seed, got 40000",
        ),
        ("config: {replay: {capacity: 1e300}}", "5: config.replay.capacity: must be a whole number, got 1.0e+300"),
        (
            f"config: {{sac: {{tau: '{'9' * 5000}'}}}}",
            f"5: config.sac.tau: must be a number, got the text '{'9' * 199}... (write it without quotes)",
        ),
        (
            "storage_path: 's3://bucket'",
            "5: storage_path: must be a directory (on a cluster: one that every node mounts), got 's3://bucket'",
        ),
        ("checkpoint: {keep: 1}", "5: checkpoint.keep: must be 2 or greater, got 1"),
        ("resources: {max_concurrent_trials: 0}", "5: resources.max_concurrent_trials: must be 1 or greater, got 0"),
        ("config: {replay: {batch_size: 2.5}}", "5: config.replay.batch_size: must be a whole number, got 2.5"),
        ("config: {replay: {batch_size: -1}}", "5: config.replay.batch_size: must be 1 or greater, got -1"),
        ("config: {sac: {tau: '0.1'}}", "5: config.sac.tau: must be a number, got the text '0.1' (write it without quotes)"),
        ("config: {sac: {tau: .nan}}", "5: config.sac.tau: must be a number, got .nan"),
        ("config: {sac: {score: {compile: 1}}}", "5: config.sac.score.compile: must be true or false, got 1"),
        ("config: {sac: {score: {compile: on}}}", "5: config.sac.score.compile: must be true or false, got the text 'on'"),
        (
            "config: {sac: {policy: implict}}",
            "5: config.sac.policy: must be 'implicit' or 'gaussian' or 'flow', got the text 'implict'; did you mean 'implicit'?",
        ),
        (
            "config: {sac: {jacobian_clamping: 3}}",
            "5: config.sac.jacobian_clamping: must be a section of 'key: value' lines or null, got 3",
        ),
        ("config: 3", "5: config: must be a section of 'key: value' lines, got 3"),
        ("grid_search: {sac.alfa: [1]}", "5: grid_search.sac.alfa: unknown key; did you mean 'alpha'?"),
        ("grid_search: {config.sac.alpha: [1]}", "5: grid_search.config.sac.alpha: paths are relative to config; write 'sac.alpha'"),
        ("grid_search: {sac.alpha: 1}", "5: grid_search.sac.alpha: must be a list, got 1"),
        ("grid_search: {sac.alpha: []}", "5: grid_search.sac.alpha: must list one or more different values, got []"),
        ("grid_search: {sac.alpha: [1, 1]}", "5: grid_search.sac.alpha: must list one or more different values, got [1, 1]"),
        ("grid_search: {sac.tau: [0.1, 2]}", "5: grid_search.sac.tau: must be in (0, 1], got 2"),
    ],
)
def test_a_mistake_is_named_with_place_key_and_repair(write: Write, line: str, message: str) -> None:
    path = write(line)
    assert mistakes(path) == [f"{path}:{message}"]


@pytest.mark.parametrize("name", ["'..'", ".", "'-rf'", "a/b", "../a", "a b", r'"a\n"', "x" * 101, "''", "'~'", r'"\0"'])
def test_a_name_that_is_no_plain_folder_name_is_refused(write: Write, name: str) -> None:
    path = write(base=f"name: {name}\nrun: SAC-AR-DAE\nenv: Pendulum-v1\nstop: {{env_steps: 5}}")
    (message,) = mistakes(path)
    assert message.startswith(f"{path}:1: name: must be ")


def test_the_stop_section_knows_its_metrics(write: Write) -> None:
    path = write(base="name: x\nrun: SAC-AR-DAE\nenv: Pendulum-v1\nstop: {env_stepz: 5}")
    assert mistakes(path) == [
        f"{path}:4: stop.env_steps: is missing; it must be a whole number",
        f"{path}:4: stop.env_stepz: unknown key; did you mean 'env_steps'?",
    ]


def test_what_must_be_there_is_asked_for(write: Write) -> None:
    path = write("config: {}", base="")
    assert [re.sub(r";.*", "", line) for line in mistakes(path)] == [f"{path}: {key}: is missing" for key in ("name", "run", "env", "stop")]


def test_all_mistakes_are_reported_together_in_their_order_and_none_that_only_follows_from_another(write: Write) -> None:
    path = write(
        """\
seeds: -1
config:
  replay:
    capacity: 100        # fits the batch size of 64, which is not what is wrong with the next line
    batch_size: -64
    updates_per_env_step: -1
    warmup_env_steps: many
  sac: {alpha: -1, score: {samples_per_context: 1}}
  bogus: 1
max_failures: -2
"""
    )
    lines = mistakes(path)
    assert [line.split(": ")[:2] for line in lines] == [
        [f"{path}:5", "seeds"],
        [f"{path}:9", "config.replay.batch_size"],
        [f"{path}:10", "config.replay.updates_per_env_step"],
        [f"{path}:11", "config.replay.warmup_env_steps"],
        [f"{path}:12", "config.sac.alpha"],
        [f"{path}:12", "config.sac.score.samples_per_context"],
        [f"{path}:13", "config.bogus"],
        [f"{path}:14", "max_failures"],
    ]


def test_rules_across_sections_are_checked(write: Write) -> None:
    path = write("config: {replay: {batch_size: 5}, learners: {num_learners: 2}}")
    assert mistakes(path) == [f"{path}:5: config.replay.batch_size: must be divisible by learners.num_learners = 2, got 5"]
    path = write("grid_search: {replay.batch_size: [4, 5], learners.num_learners: [1, 2]}")
    assert mistakes(path) == [f"{path}:5: grid_search: replay.batch_size: must be divisible by learners.num_learners = 2, got 5"]


def test_the_command_line_wins_over_the_file_and_the_last_option_over_the_first(write: Write, tmp_path: Path) -> None:
    path = write("seeds: 3\nconfig: {sac: {alpha: 0.1, jacobian_clamping: null}}\nstorage_path: elsewhere")
    assignments = ["config.sac.alpha=0.2", "config.sac.alpha=auto", "config.sac.jacobian_clamping.xi=2e-2", "stop.env_steps=5e3"]
    experiment = load_experiment(path, assignments=assignments, seeds="4,9", storage_path=tmp_path)
    assert experiment.config.sac.alpha == "auto"
    assert experiment.config.sac.jacobian_clamping is not None and experiment.config.sac.jacobian_clamping.xi == 0.02
    assert (experiment.seed_list, experiment.total_steps({})) == ([4, 9], 5000)
    assert experiment.folder == tmp_path.resolve() / "tiny"
    assert load_experiment(path, seeds="2").seed_list == [0, 1]


def test_what_is_meant_for_other_tools_or_by_other_words_is_recognised(write: Write) -> None:
    zoo = write("Pendulum-v1:\n  n_timesteps: 1e5\n  policy: MlpPolicy\n", base="")
    assert mistakes(zoo) == [
        f"{zoo}: is hyperparameters of rl-zoo3, by environment; docs/configuration.md says what a file here looks like"
    ]
    rllib = write("pendulum-sac:\n  env: Pendulum-v1\n  run: SAC\n", base="")
    assert mistakes(rllib) == [f"{rllib}: is an experiment of RLlib's; docs/configuration.md says what a file here looks like"]
    path = write()
    plain = "plain SAC is run: SAC-AR-DAE with config.sac.policy: gaussian"
    kinds = "SAC-AR-DAE, energy, maxent, score_error, vae"
    assert mistakes(path, "run=SAC") == [f"--set run=SAC: run: must be one of {kinds}, got SAC; {plain}"]
    small = "'1e-400' is not a YAML value: 1e-400 is too small a number to be told from 0"
    assert mistakes(path, "config.sac.tau=1e-400") == [f"--set config.sac.tau=1e-400: config.sac.tau: {small}"]
    large = "'99999999999999999999' is not a YAML value: a whole number does not fit into 64 bits"
    assert mistakes(path, "seeds=99999999999999999999") == [f"--set seeds=99999999999999999999: seeds: {large}"]
    assert load_experiment(path, assignments=["config.sac.alpha=0.0"]).config.sac.alpha == 0


def test_variables_in_the_storage_path_are_expanded(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_FOLDER", str(tmp_path))
    assert load_experiment(write(), storage_path="$SOME_FOLDER/runs").folder == tmp_path.resolve() / "runs" / "tiny"
    with pytest.raises(InvalidExperimentError, match=r"storage_path: must be a directory .*, got 's3://bucket/x'"):
        load_experiment(write(), storage_path="s3://bucket/x")


def test_a_mistake_in_an_option_is_placed_there(write: Write) -> None:
    path = write()
    assert mistakes(path, "config.sac.alfa=1") == ["--set config.sac.alfa=1: config.sac.alfa: unknown key; did you mean 'alpha'?"]
    assert mistakes(path, "sac.alpha=1") == ["--set sac.alpha=1: sac: unknown key here; did you mean 'config.sac'?"]
    assert mistakes(path, "config.sac.tau=x") == ["--set config.sac.tau=x: config.sac.tau: must be a number, got the text 'x'"]
    assert mistakes(path, "alpha") == ["--set alpha: expected key=value, such as --set config.sac.alpha=0.2"]
    assert mistakes(path, "config.sac.alpha=[1") == [
        "--set config.sac.alpha=[1: config.sac.alpha: '[1' is not a YAML value; quote it if it is meant as text"
    ]
    assert mistakes(path, "config.env_config={1: 2}") == [
        "--set config.env_config={1: 2}: config.env_config: '{1: 2}' is not a YAML value: the key 1 is no text; quote it"
    ]
    assert mistakes(path, seeds="x") == ["--seeds x: seeds: must be a whole number or a list of whole numbers, got the text 'x'"]


def test_setting_what_the_grid_varies_is_refused_and_narrowing_the_grid_is_not(write: Write) -> None:
    path = write("grid_search: {sac.alpha: [0.1, 0.2]}")
    (message,) = mistakes(path, "config.sac.alpha=0.3")
    assert message.endswith("narrow it with --set 'grid_search.sac.alpha=[0.3]'")
    experiment = load_experiment(path, assignments=["grid_search.sac.alpha=[0.3]", "grid_search.sac.tau=[0.1, 0.2]"])
    assert list(experiment.grid_points()) == [{"sac.alpha": 0.3, "sac.tau": 0.1}, {"sac.alpha": 0.3, "sac.tau": 0.2}]


def test_the_printed_experiment_reads_back_as_itself(write: Write, tmp_path: Path) -> None:
    experiment = load_experiment(
        write("seeds: [3, 5]\nconfig: {sac: {actor_lr: 1e-5}, env_config: {g: 9.8}}\ngrid_search: {sac.alpha: [0.1, auto]}")
    )
    copy = tmp_path / "copy.yaml"
    copy.write_text(to_yaml(experiment))
    assert load_experiment(copy) == experiment


@pytest.mark.parametrize("name", sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.yaml")))
def test_every_shipped_experiment_is_valid(name: str) -> None:
    assert load_experiment(CONFIGS / name).name == Path(name).stem


def test_shipped_experiments_have_folders_of_their_own() -> None:
    names = [path.stem for path in CONFIGS.rglob("*.yaml")]
    assert len(set(names)) == len(names) > 60


@pytest.mark.parametrize("name", ["half_cheetah", "ant", "hopper", "walker2d", "humanoid"])
def test_the_papers_environments_run_on_v4_as_documented(name: str) -> None:
    env = load_experiment(CONFIGS / f"{name}.yaml").env.replace("-v5", "-v4")  # type: ignore[attr-defined]
    experiment = load_experiment(CONFIGS / f"{name}.yaml", assignments=[f"env={env}", f"name={name}_v4"])
    assert experiment.title.startswith(f"{experiment.run} on {env},") and experiment.folder.name == f"{name}_v4"
    experiment.check(name)


def test_a_smoke_run_keeps_every_network_and_reaches_updates_evaluation_and_checkpoint(tmp_path: Path) -> None:
    full = load_experiment(CONFIGS / "humanoid.yaml", storage_path=tmp_path)
    smoke = shortened(full)
    assert smoke.config.sac == full.config.sac
    assert smoke.config.replay.batch_size <= smoke.config.replay.warmup_env_steps < smoke.total_steps({}) < 400
    assert smoke.config.evaluation.every_env_steps <= smoke.total_steps({})
    assert smoke.seed_list == [0]
    smoke.folder.mkdir()
    (smoke.folder / OUTPUT).touch()
    assert (smoke.name, shortened(full).name) == ("humanoid-smoke-1", "humanoid-smoke-1"), "a sweep has made room for its output"
    (smoke.folder / RECORD).touch()
    assert shortened(full).name == "humanoid-smoke-2"


def test_an_error_keeps_its_problems_on_the_way_from_another_process() -> None:
    error = InvalidExperimentError([Problem("a.yaml:1", "seeds", "must be 1"), Problem("b.yaml", "", "is missing")])
    again = pickle.loads(pickle.dumps(error))
    assert again.problems == error.problems and str(again) == "a.yaml:1: seeds: must be 1\nb.yaml: is missing"
