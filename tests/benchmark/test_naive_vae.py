"""The naive autoencoder computes what the library computes: same weights and same noise give the same numbers."""

import pytest
import torch
from torch import Tensor

from ardae_rl.tasks.vae.evaluate import log_likelihood
from ardae_rl.tasks.vae.methods import ScoreMethod
from benchmark.naive_vae import NaiveVAE, NaiveVAEConfig
from benchmark.vae import build

B, K = 5, 6
SMALL = NaiveVAEConfig(
    pixels=16, width=12, latent_dim=3, noise_dim=4, score_width=8, score_layers=2, samples_per_image=K, scale=3.0, delta_scale=0.1
)
Pair = tuple[NaiveVAE, ScoreMethod]


@pytest.fixture
def pair(float64: None) -> Pair:
    """Both of the same small size with the same weights."""
    naive = NaiveVAE(SMALL)
    method = build(compiled=False, autocast=False, standardisation="fixed", config=SMALL)
    assert isinstance(method, ScoreMethod)
    posterior, decoder, body = method.vae.posterior, method.vae.decoder.body, method.estimator.network.body
    layers = {
        posterior.trunk.network.layers[0]: naive.trunk[0],  # type: ignore[union-attr, index]
        posterior.mixer.joint.layer: naive.head[0],  # type: ignore[union-attr]
        posterior.out: naive.head[2],
        decoder[0].layers[0]: naive.decoder[0],  # type: ignore[index]
        decoder[1]: naive.decoder[2],  # type: ignore[index]
        **{ours: naive.potential.input_encoder[2 * i] for i, ours in enumerate(body.input_encoder)},
        **{ours: naive.potential.context_encoder[2 * i] for i, ours in enumerate(body.context_encoder)},
        **{ours: naive.potential.joint[2 * i + 2] for i, ours in enumerate(body.joint)},
        method.estimator.network.out: naive.potential.joint[4],
    }
    with torch.no_grad():
        for ours, theirs in layers.items():
            theirs.weight.copy_(ours.weight), theirs.bias.copy_(ours.bias)  # type: ignore[operator]
        first = torch.cat([body.from_input.weight, body.from_context.weight, body.from_sigma.unsqueeze(-1)], -1)
        naive.potential.joint[0].weight.copy_(first), naive.potential.joint[0].bias.copy_(body.bias)  # type: ignore[operator]
    return naive, method


def images() -> Tensor:
    return torch.rand(B, 16).round()


def test_posteriors_agree(pair: Pair) -> None:
    naive, method = pair
    x, noise = images(), torch.randn(B, K, 4)
    theirs = naive.posteriors(x, noise.flatten(0, 1)).view(B, K, -1)
    torch.testing.assert_close(method.vae.posterior.draw(x, noise), theirs)
    torch.testing.assert_close(naive.posterior(x.repeat_interleave(K, 0), noise.flatten(0, 1)), theirs.flatten(0, 1))
    torch.testing.assert_close(method.vae.posterior.centre(x), naive.centre(x))


def test_score_losses_and_their_gradients_agree(pair: Pair) -> None:
    naive, method = pair
    x, noise, sigma, u = images(), torch.randn(B, K, 4), torch.randn(B, K, 1), torch.randn(B, K, 3)
    with torch.no_grad():
        z, centre = method.vae.posterior.draw(x, noise), method.vae.posterior.centre(x)
    drawn = {tuple(sigma.shape): sigma, tuple(u.shape): u}
    ours = method.estimator.loss(z, centre, centre=centre, normal=lambda *shape: drawn[shape])
    standard = SMALL.scale * (z - centre.unsqueeze(1))
    delta = SMALL.delta_scale * standard.std(1, keepdim=True).mean(-1, keepdim=True)
    flat = standard.flatten(0, 1), centre.repeat_interleave(K, 0), (delta * sigma).flatten(0, 1), u.flatten(0, 1)
    theirs = naive.potential.denoising_loss(*flat)
    torch.testing.assert_close(ours, theirs)
    (ours + theirs).backward()
    body = method.estimator.network.body
    torch.testing.assert_close(body.input_encoder[0].weight.grad, naive.potential.input_encoder[0].weight.grad)
    torch.testing.assert_close(body.context_encoder[1].bias.grad, naive.potential.context_encoder[2].bias.grad)


def test_gradients_of_the_model_agree(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the same noise, the estimator's own step left out; values differ by a constant, for that of the entropy means nothing."""
    naive, method = pair
    x, noise = images(), torch.randn(B, 4)
    monkeypatch.setattr(torch, "randn", lambda *shape: noise)
    theirs = naive.model_loss(x)
    method.normal = lambda *shape: noise.unsqueeze(1) if shape == (B, 1, 4) else torch.ones(shape).cumsum(1)
    monkeypatch.setattr(method.optimisers["score"], "step", list)
    posterior, decoder = method.vae.posterior, method.vae.decoder.body
    ours = [posterior.get_parameter("out.weight"), posterior.trunk.network.layers[0].weight, decoder[1].weight]  # type: ignore[union-attr, index]
    others = [naive.head[2].weight, naive.trunk[0].weight, naive.decoder[2].weight]
    found = torch.autograd.grad(method.loss(x, 1.0)[0], ours)
    torch.testing.assert_close(found, torch.autograd.grad(theirs, others))  # type: ignore[arg-type]


def test_log_likelihoods_agree(pair: Pair) -> None:
    """Two estimates of the same number by the same estimator: they differ by less than a tenth of a nat at 20,000 samples.

    Posteriors are made wider than the prior: as initialised they are far too narrow to propose from.
    """
    naive, method = pair
    x, outs = images(), (method.vae.posterior.out, naive.head[2])
    with torch.no_grad():
        for layer in outs:
            layer.weight.mul_(40)  # type: ignore[operator, union-attr]
        middle = naive.centre(x).mean(0)
        for layer in outs:
            layer.bias.sub_(middle)  # type: ignore[operator, union-attr]
    ours = log_likelihood(method.vae, x, samples=20_000, normal=lambda *shape: torch.randn(shape)).log_p
    theirs = naive.log_likelihood(x, 20_000)
    assert (ours - theirs).abs().max() < 0.1
