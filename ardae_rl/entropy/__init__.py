"""Where the entropy of a sampler, and its gradient, come from: its density, a learned score, a variational bound. Plain torch."""

from ardae_rl.entropy.auxiliary import AuxiliaryEntropy
from ardae_rl.entropy.base import Draw, EntropySource
from ardae_rl.entropy.build import EntropyName, build_entropy
from ardae_rl.entropy.density import DensityEntropy
from ardae_rl.entropy.score import ScoreEntropy

__all__ = ["AuxiliaryEntropy", "DensityEntropy", "Draw", "EntropyName", "EntropySource", "ScoreEntropy", "build_entropy"]
