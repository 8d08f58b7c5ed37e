"""How much one touches to add a thing: each walk of docs/rooms.md is made in a copy of the package, counted, and shown to work.

A walk's files are its new ones, those it edits, and a test; its lines are those it writes into files that are there.
"""

import difflib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Walk:
    """``edits``: by file, text that is there once and what takes its place. ``proof`` is run beside the copy and must not fail."""

    new: dict[str, str]
    edits: dict[str, list[tuple[str, str]]]
    proof: str
    files: int
    lines: int


CRITIC = Walk(
    new={
        "sac/critics/single.py": """
from torch import nn
from ardae_rl.sac.critics.twin import TwinCritic

class SingleCritic(TwinCritic):
    def value(self, obs, action, *, fixed=False):
        return self(obs, action, fixed=fixed)[0]
"""
    },
    edits={
        "sac/critics/__init__.py": [
            (
                "from ardae_rl.sac.critics.twin import TwinCritic\n",
                "from ardae_rl.sac.critics.single import SingleCritic\nfrom ardae_rl.sac.critics.twin import TwinCritic\n",
            ),
            ('{"twin": TwinCritic}', '{"twin": TwinCritic, "single": SingleCritic}'),
        ],
        "sac/config.py": [('kind: Literal["twin"] =', 'kind: Literal["twin", "single"] =')],
    },
    proof="""
from ardae_rl.sac import SAC, SACConfig
from ardae_rl.sac.config import CriticConfig
sac = SAC.build(3, 2, SACConfig(policy="gaussian", critic=CriticConfig(kind="single", width=8)), seed=0)
assert type(sac.networks.critic).__name__ == "SingleCritic"
""",
    files=4,
    lines=5,
)

POLICY = Walk(
    new={
        "samplers/wide.py": """
from ardae_rl.samplers.gaussian import GaussianSampler

class WideSampler(GaussianSampler):
    pass
"""
    },
    edits={
        "sac/config.py": [
            ('PolicyName = Literal["implicit", "gaussian", "flow"]', 'PolicyName = Literal["implicit", "gaussian", "flow", "wide"]'),
            (
                "from ardae_rl.samplers.implicit import Initialisation\n",
                "from ardae_rl.samplers.implicit import Initialisation\nfrom ardae_rl.samplers.wide import WideSampler\n",
            ),
            (
                '    if config.policy == "implicit":\n',
                '    if config.policy == "wide":\n        return WideSampler(obs_dim, action_dim)\n    if config.policy == "implicit":\n',
            ),
        ],
        "sac/names.py": [
            ('    ("gaussian", "density"): "SAC",\n', '    ("gaussian", "density"): "SAC",\n    ("wide", "density"): "SAC-W",\n')
        ],
    },
    proof="""
import dataclasses
from ardae_rl.sac import SAC, SACConfig
from ardae_rl.sac.names import METHODS, method_name
for entropy in (None, "ardae"):
    config = SACConfig(policy="wide", entropy=entropy)
    sac = SAC.build(3, 2, config, seed=0)
    assert type(sac.policy).__name__ == "WideSampler"
assert method_name(dataclasses.asdict(SACConfig(policy="wide"))) == "SAC-W" and "SAC-W" in METHODS
""",
    files=4,
    lines=5,
)

ENTROPY = Walk(
    new={
        "entropy/nothing.py": """
from ardae_rl.entropy.density import DensityEntropy

class NoEntropy(DensityEntropy):
    def draw_with_log_prob(self, sampler, context, noise, normal):
        draw = super().draw_with_log_prob(sampler, context, noise, normal)
        return draw._replace(value=0 * draw.value)
"""
    },
    edits={
        "entropy/build.py": [
            (
                "from ardae_rl.entropy.density import DensityEntropy\n",
                "from ardae_rl.entropy.density import DensityEntropy\nfrom ardae_rl.entropy.nothing import NoEntropy\n",
            ),
            ('Literal["density", "auxiliary", EstimatorName]', 'Literal["density", "auxiliary", "nothing", EstimatorName]'),
            (
                '_OF_SAMPLERS: dict[str, Any] = {"density"',
                '_OF_SAMPLERS: dict[str, Any] = {"nothing": lambda sampler: NoEntropy(), "density"',
            ),
        ],
    },
    proof="""
from ardae_rl.sac import SAC, SACConfig
from ardae_rl.tasks.energy.config import EnergySettings
from ardae_rl.tasks.energy.task import EnergyTask
from ardae_rl.tasks.maxent.config import MaxEntSettings
from ardae_rl.tasks.maxent.task import MaxEntTask
assert type(SAC.build(3, 2, SACConfig(policy="gaussian", entropy="nothing"), seed=0).networks.entropy).__name__ == "NoEntropy"
EnergyTask(EnergySettings(method="flow", entropy="nothing").smoke(), seed=0).step()
MaxEntTask(MaxEntSettings(method="iaf", entropy="nothing").smoke(), seed=0).step()
""",
    files=4,
    lines=5,
)

ESTIMATOR = Walk(
    new={
        "score/halved.py": """
from ardae_rl.score.ardae import ARDAE

class HalvedARDAE(ARDAE):
    def score(self, *args, **kwargs):
        return super().score(*args, **kwargs) / 2
"""
    },
    edits={
        "score/build.py": [
            (
                "from ardae_rl.score.estimator import ScoreEstimator\n",
                "from ardae_rl.score.estimator import ScoreEstimator\nfrom ardae_rl.score.halved import HalvedARDAE\n",
            ),
            ('    "ardae": ARDAE,\n', '    "ardae": ARDAE,\n    "halved": HalvedARDAE,\n'),
        ],
        "score/settings.py": [('Literal["ardae", "adversarial"', 'Literal["ardae", "halved", "adversarial"')],
    },
    proof="""
from ardae_rl.sac import SAC, SACConfig
from ardae_rl.tasks.energy.config import EnergySettings
from ardae_rl.tasks.energy.task import EnergyTask
from ardae_rl.tasks.maxent.config import MaxEntSettings
from ardae_rl.tasks.maxent.task import MaxEntTask
from ardae_rl.tasks.score_error.config import ScoreErrorSettings
from ardae_rl.tasks.score_error.task import ScoreErrorTask
entropy = SAC.build(3, 2, SACConfig(entropy="halved"), seed=0).networks.entropy
assert type(entropy.estimator).__name__ == "HalvedARDAE"
ScoreErrorTask(ScoreErrorSettings(estimator="halved").smoke(), seed=0).step()
EnergyTask(EnergySettings(entropy="halved").smoke(), seed=0).step()
MaxEntTask(MaxEntSettings(entropy="halved").smoke(), seed=0).step()
""",
    files=4,
    lines=4,
)

SETTING = Walk(
    new={},
    edits={
        "score/settings.py": [
            (
                '    antithetic: bool = setting(True, "Half',
                '    noise_mean: float = setting(0.0, "Mean of the noise")\n    antithetic: bool = setting(True, "Half',
            ),
            ("    antithetic: bool\n", "    antithetic: bool\n    noise_mean: float\n"),
        ],
        "score/ardae.py": [
            (
                "sigma, u = delta * draw(*x.shape[:-1], 1), draw(*x.shape)\n",
                "sigma, u = delta * draw(*x.shape[:-1], 1), draw(*x.shape) + self.noise_mean\n",
            ),
            ("        if chosen.compile:\n", "        self.noise_mean = chosen.noise_mean\n        if chosen.compile:\n"),
        ],
    },
    proof="""
from ardae_rl.score import ARDAE
from ardae_rl.sac import SAC, SACConfig
from ardae_rl.sac.config import ScoreConfig
from ardae_rl.tasks.energy.config import EnergySettings, ScoreSettings as EnergyScore
from ardae_rl.tasks.energy.task import EnergyTask
from ardae_rl.tasks.score_error.config import ScoreErrorSettings, ScoreSettings
from ardae_rl.tasks.score_error.task import ScoreErrorTask
assert ARDAE(2, noise_mean=3.0).noise_mean == 3.0
assert SAC.build(3, 2, SACConfig(score=ScoreConfig(noise_mean=2.0)), seed=0).networks.entropy.estimator.noise_mean == 2.0
assert ScoreErrorTask(ScoreErrorSettings(score=ScoreSettings(noise_mean=1.0)).smoke(), seed=0).members[0].estimator.noise_mean == 1.0
assert EnergyTask(EnergySettings(score=EnergyScore(noise_mean=1.0)).smoke(), seed=0).entropy.estimator.noise_mean == 1.0
""",
    files=3,
    lines=5,
)


def documented_task() -> Walk:
    """The example of docs/adding-a-task.md, as written there."""
    blocks = (ROOT / "docs" / "adding-a-task.md").read_text().split("```")
    code = [block.removeprefix("python\n") for block in blocks[1::2] if block.startswith("python\n")]
    settings, task, line = code[:3]
    return Walk(
        new={
            "tasks/gaussian_fit/__init__.py": "",
            "tasks/gaussian_fit/config.py": settings,
            "tasks/gaussian_fit/task.py": task,
            "report/gaussian_fit.py": "def contents(experiment, folder, evaluations):\n    return {'kl.csv': evaluations}, {}\n",
        },
        edits={
            "tasks/registry.py": [
                (
                    "from ardae_rl.tasks.maxent.config import",
                    "from ardae_rl.tasks.gaussian_fit.config import GaussianFitSettings\nfrom ardae_rl.tasks.maxent.config import",
                ),
                (
                    '    "vae": TaskKind(',
                    "    " + line.strip().replace('Task")', 'Task", report="ardae_rl.report.gaussian_fit")') + '\n    "vae": TaskKind(',
                ),
            ]
        },
        proof="""
from ardae_rl.experiment.kinds import KINDS
from ardae_rl.tasks.registry import TASKS
kind = TASKS["gaussian_fit"]
task = kind.task()(kind.settings().smoke(), seed=0, device="cpu")
task.step()
assert "gaussian_fit" in KINDS and "kl" in task.evaluate()
""",
        files=7,  # with the YAML file; __init__.py is empty
        lines=5,
    )


WALKS = {"critic": CRITIC, "policy": POLICY, "entropy": ENTROPY, "estimator": ESTIMATOR, "setting": SETTING, "task": documented_task()}


def changed(walk: Walk) -> dict[str, str]:
    """The files that a walk edits, as they then are."""
    texts = {}
    for file, replacements in walk.edits.items():
        text = (ROOT / "ardae_rl" / file).read_text()
        for old, new in replacements:
            assert text.count(old) == 1, f"{file} has {text.count(old)} times {old!r}: bring the walk up to date"
            text = text.replace(old, new)
        texts[file] = text
    return texts


def written_lines(before: str, after: str) -> int:
    return sum(line.startswith("+ ") for line in difflib.ndiff(before.splitlines(), after.splitlines()))


@pytest.mark.parametrize("name", WALKS)
def test_adding_one_touches_few_files_and_works(name: str, tmp_path: Path) -> None:
    walk, copy = WALKS[name], tmp_path / "ardae_rl"
    edited = changed(walk)
    lines = sum(written_lines((ROOT / "ardae_rl" / file).read_text(), text) for file, text in edited.items())
    yaml = 1 if name == "task" else 0
    files = len([text for text in walk.new.values() if text]) + len(edited) + 1 + yaml
    assert files <= walk.files and lines <= walk.lines, f"{files} files, {lines} lines"
    shutil.copytree(ROOT / "ardae_rl", copy, ignore=shutil.ignore_patterns("__pycache__"))
    for file, text in {**walk.new, **edited}.items():
        (copy / file).parent.mkdir(exist_ok=True)
        (copy / file).write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    script = f"import ardae_rl; assert ardae_rl.__file__.startswith({str(tmp_path)!r}), ardae_rl.__file__\n{walk.proof}"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
