"""Score estimation: grad log p of any sampler. Plain torch; imports nothing else of the package."""

from ardae_rl.score.ardae import ARDAE, denoising_loss
from ardae_rl.score.entropy import entropy_surrogate
from ardae_rl.score.partition import LogPartition, log_partition
from ardae_rl.score.standardise import Frame, frame_of

__all__ = ["ARDAE", "Frame", "LogPartition", "denoising_loss", "entropy_surrogate", "frame_of", "log_partition"]
