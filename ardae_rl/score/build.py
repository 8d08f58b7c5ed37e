"""Every trained estimator by name, and the one way from settings to an estimator."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from ardae_rl.score.adversarial import AdversarialScore
from ardae_rl.score.ardae import ARDAE
from ardae_rl.score.denoising import BlurredDAE, ReconstructionDAE, ResidualDAE
from ardae_rl.score.estimator import ScoreEstimator
from ardae_rl.score.implicit_matching import ImplicitScoreMatching
from ardae_rl.score.settings import NetworkSettings

ESTIMATORS: dict[str, Callable[..., ScoreEstimator]] = {
    "ardae": ARDAE,
    "residual_dae": ResidualDAE,
    "reconstruction_dae": ReconstructionDAE,
    "blurred_dae": BlurredDAE,
    "score_matching": partial(ImplicitScoreMatching, trace="exact"),
    "sliced_score_matching": partial(ImplicitScoreMatching, trace="sliced"),
    "adversarial": AdversarialScore,
}


def build_estimator(name: str, dim: int, context_dim: int, settings: NetworkSettings, **options: Any) -> ScoreEstimator:
    """The estimator of this name with those of ``settings`` that it takes, and ``options`` of its own, such as ``sigma``."""
    make = ESTIMATORS[name]
    taken = {each: getattr(settings, each) for each in inspect.signature(make).parameters if hasattr(settings, each)}
    return make(dim, context_dim, **taken | options)
