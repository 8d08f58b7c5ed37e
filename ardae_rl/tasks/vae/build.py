"""From settings to networks: every choice of posterior, architecture and estimator in one place."""

from torch import nn

from ardae_rl.score import ScoreEstimator
from ardae_rl.score import build_estimator as build_score
from ardae_rl.score.estimator import Normal
from ardae_rl.tasks.vae.config import VAESettings
from ardae_rl.tasks.vae.data import Data
from ardae_rl.tasks.vae.methods import AuxiliaryMethod, GaussianMethod, Method, ScoreMethod
from ardae_rl.tasks.vae.model import VAE, BernoulliDecoder, GaussianDecoder
from ardae_rl.tasks.vae.networks import ARCHITECTURES, Architecture
from ardae_rl.tasks.vae.posteriors import AuxiliaryModel, GaussianPosterior, HierarchicalPosterior, ImplicitPosterior, Posterior


def build_method(settings: VAESettings, data: Data, normal: Normal, device: str) -> Method:
    """The model, what it is trained by, and all their weights on ``device``; weights come from torch's global generator."""
    parts = ARCHITECTURES[settings.network.architecture](settings.network, data.pixels, centred=data.side is not None)
    decoder = _decoder(settings, parts, data)  # before the posterior: one seed starts it the same whatever the posterior, by default
    vae = VAE(_posterior(settings, parts), decoder)
    if settings.network.initialisation == "released":
        _start_as_released(vae, settings)
    vae.to(device)
    match settings.posterior:
        case "gaussian":
            return GaussianMethod(vae, None, normal)
        case "hvi_auxiliary":
            return AuxiliaryMethod(vae, _auxiliary(settings, parts).to(device), normal)
        case _:
            return ScoreMethod(vae, build_estimator(settings, vae.posterior, data.pixels).to(device), settings.score, normal)


def _posterior(settings: VAESettings, parts: Architecture) -> Posterior:
    bounds = {"floor": settings.network.log_variance_floor, "ceiling": settings.network.log_variance_ceiling}
    match settings.posterior:
        case "gaussian":
            return GaussianPosterior(parts, settings.latent_dim, **bounds)
        case "hvi_auxiliary" | "hvi_ardae":
            return HierarchicalPosterior(parts, settings.latent_dim, settings.noise_dim, **bounds)
        case "ivi_ardae" | "ivi_avb":
            return ImplicitPosterior(parts, settings.latent_dim, settings.noise_dim)


def _auxiliary(settings: VAESettings, parts: Architecture) -> AuxiliaryModel:
    return AuxiliaryModel(parts, settings.latent_dim, settings.noise_dim, ceiling=settings.network.log_variance_ceiling)


def _decoder(settings: VAESettings, parts: Architecture, data: Data) -> BernoulliDecoder | GaussianDecoder:
    if data.side is None:
        return GaussianDecoder(parts.decoder(settings.latent_dim, 2 * data.pixels))
    return BernoulliDecoder(parts.decoder(settings.latent_dim, data.pixels))


def _start_as_released(vae: VAE, settings: VAESettings) -> None:
    """First weights as in the authors' code, whose baselines start from torch's: decoders then differ between posteriors."""
    match settings.network.architecture, settings.posterior:
        case ("mlp", "hvi_ardae") | ("conv", "hvi_ardae" | "ivi_ardae" | "ivi_avb"):
            _xavier(vae)
        case "mlp", "ivi_ardae" | "ivi_avb":
            nn.init.normal_(vae.posterior.get_parameter("out.weight"))
            if isinstance(vae.decoder, GaussianDecoder):
                nn.init.normal_(vae.decoder.last_weights_of_mean())
            else:
                _xavier(vae.decoder)


def _xavier(network: nn.Module) -> None:
    for layer in network.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.get_parameter("bias"))


def build_estimator(settings: VAESettings, posterior: Posterior, pixels: int) -> ScoreEstimator:
    """The estimator of the posterior's score that the settings name."""
    score, dim = settings.score, posterior.dim
    context_dim = {"centre": posterior.dim, "hidden": posterior.hidden_dim, "data": pixels}[score.context]
    if settings.posterior == "ivi_avb":
        return build_score("adversarial", dim, context_dim, score)
    if score.fixed_sigma is not None:
        return build_score("blurred_dae", dim, context_dim, score, sigma=score.fixed_sigma)
    return build_score("ardae", dim, context_dim, score)
