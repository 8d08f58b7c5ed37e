"""A variational autoencoder with everything linear and Gaussian: log p(x), posteriors and their scores in closed form."""

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from ardae_rl.tasks.vae.config import NetworkSettings
from ardae_rl.tasks.vae.methods import ScoreMethod
from ardae_rl.tasks.vae.model import VAE, GaussianDecoder
from ardae_rl.tasks.vae.networks import Architecture, Joint, Mixer
from ardae_rl.tasks.vae.posteriors import AuxiliaryModel, GaussianPosterior, HierarchicalPosterior, ImplicitPosterior, Posterior

PIXELS, DIM, AUXILIARY = 3, 2, 2


def linear_parts() -> Architecture:
    """The architecture of the real encoders, its hidden layers replaced by ``linear``'s as they are built."""
    return Architecture(NetworkSettings(width=PIXELS), PIXELS, centred=False)


def linear(posterior: Posterior) -> Posterior:
    """``posterior`` with identities for hidden layers: x itself are the features, noise joins in one linear map."""
    posterior.trunk = nn.Identity()
    for head in ("head", "first_head"):
        if hasattr(posterior, head):
            setattr(posterior, head, nn.Identity())
    mixer = getattr(posterior, "mixer", None)
    if isinstance(mixer, Mixer):
        posterior.mixer = Joint(PIXELS, mixer.joint.layer.in_features - PIXELS, PIXELS)
    return posterior


def posterior_named(name: str) -> Posterior:
    parts = linear_parts()
    match name:
        case "gaussian":
            posterior: Posterior = GaussianPosterior(parts, DIM)
        case "hierarchical":
            posterior = HierarchicalPosterior(parts, DIM, AUXILIARY)
        case _:
            posterior = ImplicitPosterior(parts, DIM, 4)
    linear(posterior)
    for module in posterior.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.5)
    if isinstance(posterior, ImplicitPosterior):  # wide and near 0: a proposal that misses the true posterior would have wild weights
        nn.init.normal_(posterior.mixer.layer.weight[:, PIXELS:])  # type: ignore[union-attr, index]
        nn.init.normal_(posterior.mixer.layer.weight[:, :PIXELS], std=0.2)  # type: ignore[union-attr, index]
    if isinstance(posterior, (GaussianPosterior, HierarchicalPosterior)):
        nn.init.zeros_(posterior.out.log_variance.weight)  # a variance that depends on z0 or x would not stay Gaussian, or linear
    if isinstance(posterior, HierarchicalPosterior):
        nn.init.zeros_(posterior.first_out.log_variance.weight)
    return posterior


def auxiliary_model() -> AuxiliaryModel:
    """h(z0 | z, x), linear with a constant variance."""
    model = AuxiliaryModel(linear_parts(), DIM, AUXILIARY)
    model.mixer = Joint(PIXELS, DIM, PIXELS)
    nn.init.zeros_(model.out.log_variance.weight)
    return model


class LinearBody(nn.Module):
    """z -> [W z + b, log v]."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(0.7 * torch.randn(PIXELS, DIM)), nn.Parameter(torch.randn(PIXELS))
        self.log_variance = nn.Parameter(torch.tensor([-0.5, 0.0, 0.5]))

    def forward(self, z: Tensor) -> Tensor:
        return torch.cat([z @ self.weight.T + self.bias, self.log_variance.expand(len(z), -1)], -1)


def linear_vae(posterior: str) -> VAE:
    return VAE(posterior_named(posterior), GaussianDecoder(LinearBody()))


def body_of(vae: VAE) -> LinearBody:
    assert isinstance(vae.decoder.body, LinearBody)
    return vae.decoder.body


def exact_log_p(vae: VAE, x: Tensor) -> Tensor:
    """log p(x) (B,): x ~ N(b, W W^T + diag v)."""
    body = body_of(vae)
    covariance = body.weight @ body.weight.T + torch.diag(body.log_variance.exp())
    return MultivariateNormal(body.bias, covariance).log_prob(x)


def exact_posterior(vae: VAE, x: Tensor) -> MultivariateNormal:
    """p(z | x)."""
    body = body_of(vae)
    scaled = body.weight.T / body.log_variance.exp()
    precision = torch.eye(DIM) + scaled @ body.weight
    return MultivariateNormal((x - body.bias) @ scaled.T @ torch.linalg.inv(precision), precision_matrix=precision)


def law_of(posterior: Posterior, x: Tensor) -> MultivariateNormal:
    """q(z | x) of a linear posterior, read off its map from noise: N(g(0, x), J J^T), J the Jacobian in the noise."""
    origin = torch.zeros(len(x), 1, posterior.noise_dim)
    axes = torch.eye(posterior.noise_dim).expand(len(x), -1, -1)
    jacobian = posterior.draw(x, axes) - posterior.draw(x, origin)
    return MultivariateNormal(posterior.centre(x), jacobian.mT @ jacobian)


def exact_negative_elbo(vae: VAE, x: Tensor) -> Tensor:
    """-E_q[log p(x | z)] + KL(q || N(0, I)) (B,), of a linear posterior, in closed form."""
    body, law = body_of(vae), law_of(vae.posterior, x)
    mean = law.mean @ body.weight.T + body.bias
    spread = torch.einsum("pi,bij,pj->bp", body.weight, law.covariance_matrix, body.weight)
    variance = body.log_variance.exp()
    reconstruction = 0.5 * (((x - mean).square() + spread) / variance + variance.log() + torch.tensor(2 * torch.pi).log()).sum(-1)
    prior = MultivariateNormal(torch.zeros(DIM), torch.eye(DIM))
    return reconstruction + torch.distributions.kl_divergence(law, prior)


def fit_estimator(method: ScoreMethod, x: Tensor) -> tuple[Tensor, Tensor]:
    """Its fits of one step on these images; their context and b(x)."""
    with torch.no_grad():
        features = method.vae.posterior.encode(x)
        centre = method.vae.posterior.centre_of(features)
        context = method._context(x, features, centre)
    method.fit(features, context, centre)
    return context, centre
