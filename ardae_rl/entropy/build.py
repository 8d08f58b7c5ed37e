"""Every source of entropy by name: those of this room, and the trained estimators of a score."""

from typing import Any, Literal

from ardae_rl.entropy.auxiliary import AuxiliaryEntropy
from ardae_rl.entropy.base import EntropySource
from ardae_rl.entropy.density import DensityEntropy
from ardae_rl.entropy.score import Origin, ScoreEntropy
from ardae_rl.samplers.base import Sampler
from ardae_rl.score import build_estimator
from ardae_rl.score.settings import EstimatorName, FitSettings

EntropyName = Literal["density", "auxiliary", EstimatorName]
_OF_SAMPLERS: dict[str, Any] = {"density": lambda sampler: DensityEntropy(), "auxiliary": AuxiliaryEntropy.of}  # others are estimators


def build_entropy(
    name: EntropyName | None, sampler: Sampler, context_dim: int, settings: FitSettings, *, origin: Origin | None = None
) -> EntropySource:
    """The source of this name for a sampler; None: its density where it has one, else AR-DAE. Raises ValueError if it is not for such one.

    ``settings``: those of an estimator and its fits, and where they have them, the options of :class:`.ScoreEntropy`.
    """
    name = name or default_entropy(sampler.has_density)
    if name in _OF_SAMPLERS:
        source: EntropySource = _OF_SAMPLERS[name](sampler)
        return source
    options = {
        each: getattr(settings, each) for each in ("share_contexts", "importance_samples", "proposal_std") if hasattr(settings, each)
    }
    estimator = build_estimator(name, sampler.dim, context_dim, settings)
    samples = settings.samples_per_context
    return ScoreEntropy(estimator, samples_per_context=samples, noise_dim=sampler.noise_dim, origin=origin, **options)


def default_entropy(has_density: bool) -> EntropyName:
    return "density" if has_density else "ardae"
