"""From settings to the samplers of all repeats and where their entropy comes from, as one ensemble."""

from torch import Tensor, nn

from ardae_rl.entropy import EntropySource, build_entropy
from ardae_rl.nn.ensemble import Ensemble
from ardae_rl.samplers import ImplicitSampler, Sampler
from ardae_rl.samplers.autoregressive_flow import AutoregressiveFlow
from ardae_rl.tasks.maxent.config import MaxEntSettings


class Model(nn.Module):
    """A sampler of the unconstrained y, and the source of its entropy."""

    def __init__(self, sampler: Sampler, entropy: EntropySource) -> None:
        super().__init__()
        self.sampler, self.entropy = sampler, entropy

    def draw(self, noise: Tensor) -> Tensor:
        return self.sampler.draw(None, noise)


def build_models(settings: MaxEntSettings) -> Ensemble[Model]:
    samplers = [_sampler(settings) for _ in range(settings.repeats)]
    sources = [build_entropy(settings.entropy, sampler, 0, settings.score, origin="batch") for sampler in samplers]
    return Ensemble([Model(*pair) for pair in zip(samplers, sources, strict=True)])


def _sampler(settings: MaxEntSettings) -> Sampler:
    if settings.method == "iaf":
        flow = settings.flow
        return AutoregressiveFlow(settings.dim, ["affine"] * flow.transforms, hidden=[flow.width] * flow.layers, activation=nn.ELU)
    chosen = settings.sampler
    return ImplicitSampler(
        0, settings.dim, noise_dim=chosen.noise_dim, head_layers=chosen.layers, width=chosen.width, initialisation="released"
    )
