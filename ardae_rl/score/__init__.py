"""Score estimation: grad log p of any sampler. Plain torch; imports ``ardae_rl.nn`` alone."""

from ardae_rl.score.adversarial import AdversarialScore
from ardae_rl.score.ardae import ARDAE, denoising_loss
from ardae_rl.score.build import build_estimator
from ardae_rl.score.denoising import BlurredDAE, ReconstructionDAE, ResidualDAE
from ardae_rl.score.entropy import entropy_surrogate, stein_ratio
from ardae_rl.score.estimator import ScoreEstimator
from ardae_rl.score.implicit_matching import ImplicitScoreMatching
from ardae_rl.score.kernel import KernelDensityScore, SpectralSteinScore, SteinScore
from ardae_rl.score.partition import LogPartition, log_partition
from ardae_rl.score.standardise import Frame, frame_of, whitening_frame

__all__ = [
    "ARDAE",
    "AdversarialScore",
    "BlurredDAE",
    "Frame",
    "ImplicitScoreMatching",
    "KernelDensityScore",
    "LogPartition",
    "ReconstructionDAE",
    "ResidualDAE",
    "ScoreEstimator",
    "SpectralSteinScore",
    "SteinScore",
    "build_estimator",
    "denoising_loss",
    "entropy_surrogate",
    "frame_of",
    "log_partition",
    "stein_ratio",
    "whitening_frame",
]
