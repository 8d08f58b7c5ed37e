"""The paper's numbers, to put ours beside, and the settings they were found with.

Mean and standard deviation over 5 seeds. Reference: [Lim2020] arXiv:2006.05164, Tables 1, 3, 4 and 7.
"""

from collections.abc import Mapping
from typing import Any

from ardae_rl.report.records import value_at

MAXIMUM, NORMALISED = "maximum", "normalised"
MEASURES = {MAXIMUM: "maximum average return", NORMALISED: "normalised average return"}
Number = tuple[float, float]

METHODS = ("SAC", "SAC-NF", "SAC-AR-DAE", "SAC-AR-DAE without clamping")
PUBLISHED: dict[str, dict[str, tuple[Number, ...]]] = {
    MAXIMUM: {
        "HalfCheetah": ((9695, 879), (9325, 775), (10907, 664), (10677, 374)),
        "Ant": ((5345, 553), (4861, 1091), (6190, 128), (6097, 140)),
        "Hopper": ((3563, 119), (3521, 129), (3556, 127), (3634, 45)),
        "Walker2d": ((4612, 249), (4760, 624), (4793, 395), (4843, 521)),
        "Humanoid": ((5965, 179), (5467, 44), (6275, 202), (6268, 77)),
        "ardae_rl/RllabHumanoid": ((6099, 8071), (3442, 3736), (10739, 10335), (761, 413)),
    },
    NORMALISED: {
        "HalfCheetah": ((8089, 567), (7529, 596), (8493, 602), (8636, 307)),
        "Ant": ((3280, 553), (3440, 656), (4335, 241), (4015, 363)),
        "Hopper": ((2442, 426), (2480, 587), (2631, 160), (2734, 194)),
        "Walker2d": ((3023, 271), (3317, 455), (3036, 271), (3094, 209)),
        "Humanoid": ((3471, 505), (3447, 260), (4215, 170), (3808, 137)),
        "ardae_rl/RllabHumanoid": ((664, 321), (814, 630), (2021, 1710), (332, 136)),
    },
}
CAVEAT = (
    "The paper trained for 3 million steps (its released code) on Gym's v2 environments, which Gymnasium no longer has; what changed since "
    "is in docs/environments.md. Where environment version, number of steps or any other setting differ, the columns do not measure the "
    "same thing; the last column names the settings, with the paper's value in brackets. Mean ± one standard deviation of runs, five in "
    "the paper."
)

_ENVIRONMENTS = tuple(PUBLISHED[MAXIMUM])
_WITHOUT_LIMIT = "ardae_rl/RllabHumanoid"  # where the evaluation's limit counts if the trial sets none
_COMMON: dict[str, Any] = {
    "stop.env_steps": 3_000_000,
    "sac.alpha": 0.05,
    "sac.gamma": 0.99,
    "sac.tau": 0.005,
    "sac.actor_lr": 3e-4,
    "sac.critic_lr": 3e-4,
    "sac.critic.hidden_layers": 2,
    "sac.critic.width": 256,
    "replay.capacity": 1_000_000,
    "replay.batch_size": 256,
    "replay.updates_per_env_step": 1.0,
    "evaluation.every_env_steps": 10_000,
    "evaluation.episodes": 10,
    "env_config.max_episode_steps": None,
    "env_runners.num_envs_per_env_runner": 1,
}
_GAUSSIAN: dict[str, Any] = {
    "sac.gaussian.hidden_layers": 2,
    "sac.gaussian.width": 256,
    "sac.gaussian.log_std_min": -20.0,
    "sac.gaussian.log_std_max": 2.0,
    "sac.target_calibration": False,
}
_SCORE: dict[str, Any] = {
    "sac.score.lr": 3e-4,
    "sac.policy_delay": 1,
    "sac.implicit.activation": "elu",
    "sac.implicit.head_width": None,
    "sac.score.layers": 5,
    "sac.score.width": 256,
    "sac.score.activation": "elu",
    "sac.score.scale": 10_000.0,
    "sac.score.delta_scale": 0.1,
    "sac.score.fits_per_step": 1,
    "sac.score.share_contexts": False,
    "sac.score.beta1": 0.9,
    "sac.score.anchors": 0,
    "sac.score.student_dof": None,
    "sac.score.antithetic": False,
    "sac.score.proposal_std": None,
    "sac.score.standardisation": "fixed",
    "sac.score.autocast": False,
}
_BY_ENVIRONMENT: dict[str, tuple[object, ...]] = {  # in the order of PUBLISHED
    "replay.warmup_env_steps": (5000, 10_000, 10_000, 10_000, 10_000, 10_000),
}
_FLOW_BY_ENVIRONMENT: dict[str, tuple[object, ...]] = {"sac.flow.flows": (3, 4, 5, 5, 4, 2)}
_SCORE_BY_ENVIRONMENT: dict[str, tuple[object, ...]] = {
    "sac.implicit.noise_dim": (10, 10, 10, 10, 32, 100),
    "sac.implicit.encoder_layers": (1, 1, 2, 1, 3, 3),
    "sac.implicit.head_layers": (1, 1, 1, 2, 2, 2),
    "sac.implicit.width": (256, 256, 256, 256, 64, 64),
    "sac.score.context_layers": (5, 5, 0, 1, 1, 1),
    "sac.score.input_layers": (5, 5, 0, 0, 0, 0),
    "sac.score.samples_per_context": (128, 64, 128, 128, 64, 64),
    "sac.score.sigmas_per_sample": (1, 1, 1, 1, 4, 4),
    "sac.score.importance_samples": (100, 10, 100, 100, 10, 10),
    "sac.target_calibration": (False, False, True, False, False, False),
}
_CLAMPING_BY_ENVIRONMENT: dict[str, tuple[object, ...]] = {
    "sac.jacobian_clamping.xi": (0.01,) * 6,
    "sac.jacobian_clamping.perturbations": (10,) * 6,
    "sac.jacobian_clamping.eta": (0.1, 0.01, 0.01, 0.01, 0.1, 0.1),
    "sac.jacobian_clamping.nu": (1.1, 1.1, 1.1, 1.1, 1.3, 1.3),
    "sac.jacobian_clamping.weight_max": (1e5,) * 6,
}


def published(measure: str, env: str, method: str) -> Number | None:
    """The paper's mean and standard deviation, whatever the version of ``env`` ("Hopper-v5"); None if it has none.

    For SAC-AR-DAE plus those of SAC-AR-DAE, which differs from it in settings that :func:`unlike_the_paper` names.
    """
    row, method = PUBLISHED[measure].get(_unversioned(env)), _counterpart(method)
    return row[METHODS.index(method)] if row and method in METHODS else None


def unlike_the_paper(env: str, method: str, settings: Mapping[str, Any], stop: Mapping[str, Any]) -> str:
    """What of a trial's ``settings`` and the ``stop`` of its experiment is not the paper's, with the paper's value in brackets.

    "score.samples_per_context 16 (128), env_steps 30,000 (3,000,000)". Only what the method uses is looked at. "" if there is nothing to
    name, or the paper has run neither this method nor one that it is a variant of on this environment.
    """
    if _unversioned(env) not in _ENVIRONMENTS or _counterpart(method) not in METHODS:
        return ""
    ours = {**settings, "stop": stop}
    expected = _expected(_ENVIRONMENTS.index(_unversioned(env)), _counterpart(method))
    if _unversioned(env) == _WITHOUT_LIMIT and _at(ours, "env_config.max_episode_steps") is None:
        expected["evaluation.max_episode_steps"] = None
    pairs = [(key, _at(ours, key), value) for key, value in expected.items()]
    return ", ".join(f"{key.partition('.')[2]} {_text(found)} ({_text(value)})" for key, found, value in pairs if found != value)


def _expected(column: int, method: str) -> dict[str, Any]:
    single, by_environment = dict(_COMMON), dict(_BY_ENVIRONMENT)
    if method in ("SAC", "SAC-NF"):
        single |= _GAUSSIAN
        by_environment |= _FLOW_BY_ENVIRONMENT if method == "SAC-NF" else {}
    else:
        single |= _SCORE
        by_environment |= _SCORE_BY_ENVIRONMENT | (_CLAMPING_BY_ENVIRONMENT if method == "SAC-AR-DAE" else {})
    return single | {key: values[column] for key, values in by_environment.items()}


def _counterpart(method: str) -> str:
    """The method of the paper that ``method`` stands beside: SAC-AR-DAE for SAC-AR-DAE plus, otherwise itself."""
    return method.replace("SAC-AR-DAE plus", "SAC-AR-DAE")


def _unversioned(env: str) -> str:
    return env.rpartition("-v")[0]


def _at(settings: Mapping[str, Any], key: str) -> Any:
    """None where an older version did not have the setting."""
    try:
        return value_at(settings, key)
    except (KeyError, TypeError):
        return None


def _text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
