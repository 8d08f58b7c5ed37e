"""From settings to a sampler and where its entropy comes from."""

from ardae_rl.entropy import EntropyName, EntropySource, build_entropy
from ardae_rl.samplers import HierarchicalSampler, ImplicitSampler, Sampler
from ardae_rl.samplers.autoregressive_flow import flow_of_size
from ardae_rl.tasks.energy.config import EnergySettings

LOG_STD_MIN = -2.0  # of x given z where its score is to be learned: log variance -4, as in the paper


def build(settings: EnergySettings, dim: int) -> tuple[Sampler, EntropySource]:
    """For samples of ``dim`` numbers."""
    sampler = _sampler(settings, dim)
    return sampler, build_entropy(_entropy(settings), sampler, 0, settings.score)


def _entropy(settings: EnergySettings) -> EntropyName | None:
    return settings.entropy or ("auxiliary" if settings.method == "hierarchical_auxiliary" else None)


def _sampler(settings: EnergySettings, dim: int) -> Sampler:
    width, layers, kind = settings.width, settings.layers, settings.method.partition("_")[0]
    if kind == "hierarchical":
        floor = {} if _entropy(settings) == "auxiliary" else {"log_std_min": LOG_STD_MIN}
        return HierarchicalSampler(settings.latent_dim, dim, width=width, layers=layers, **floor)
    implicit = ImplicitSampler(
        0, dim, noise_dim=settings.noise_dim, head_layers=layers, width=width, activation="relu", initialisation="released"
    )
    return implicit if kind == "implicit" else flow_of_size(dim, sum(parameter.numel() for parameter in implicit.parameters()))
