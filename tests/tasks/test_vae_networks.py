"""Layer shapes are Table 5's, but of one network; noise joins as if it had been concatenated."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ardae_rl.experiment.load import load_experiment
from ardae_rl.tasks.vae.build import build_method
from ardae_rl.tasks.vae.config import NetworkSettings, ScoreSettings, VAESettings
from ardae_rl.tasks.vae.data import Data, Images, Toy, load_data
from ardae_rl.tasks.vae.networks import ARCHITECTURES, Joint, Mixer, ResidualConv, ResidualLinear, ResidualMixer
from ardae_rl.tasks.vae.posteriors import AuxiliaryModel, GaussianOut, HierarchicalPosterior, Posterior
from tests.tasks.linear_vae import fit_estimator

CONFIGS = Path(__file__).parents[2] / "tune_configs"
MLP = NetworkSettings(architecture="mlp", width=300)
CONV = NetworkSettings(architecture="conv", width=800)
RESCONV = NetworkSettings(architecture="resconv", width=450, activation="elu")
TOY = NetworkSettings(width=256, head_layers=2, decoder_layers=2, activation="relu")

Shapes = list[tuple[int, ...]]
CONV_TRUNK: Shapes = [(16, 1, 5, 5), (32, 16, 5, 5), (32, 32, 5, 5)]
CONV_DECODER: Shapes = [(300, 32), (512, 300), (32, 32, 5, 5), (32, 16, 5, 5), (16, 1, 5, 5)]


def residual_conv(inputs: int, outputs: int) -> Shapes:
    return [(outputs, inputs, 3, 3), (outputs, outputs, 3, 3), (outputs, inputs, 3, 3)]


def residual(inputs: int, outputs: int) -> Shapes:
    return [(outputs, inputs), (outputs, outputs), (outputs, inputs)]


RESCONV_TRUNK = [shape for pair in ((1, 16), (16, 16), (16, 32), (32, 32), (32, 32)) for shape in residual_conv(*pair)] + residual(512, 450)
RESCONV_DECODER = [
    *(residual(32, 450) + residual(450, 512)),
    *(shape for pair in ((32, 32), (32, 32), (32, 16), (16, 16), (16, 1)) for shape in residual_conv(*pair)),
]

# (architecture, posterior): shapes of its encoder's weights as Table 5 has them; of the hierarchical resconv as in the released code, whose
# first pair of heads sits on the trunk, where the table has [450, 450] before both pairs
ENCODERS: dict[tuple[str, str], Shapes] = {
    ("mlp", "gaussian"): [(300, 784), (32, 300), (32, 300)],
    ("mlp", "ivi_ardae"): [(300, 784), (300, 400), (32, 300)],
    ("mlp", "hvi_ardae"): [(300, 784), (100, 300), (100, 300), (300, 400), (32, 300), (32, 300)],
    ("conv", "gaussian"): [*CONV_TRUNK, (800, 512), (32, 800), (32, 800)],
    ("conv", "ivi_ardae"): [*CONV_TRUNK, (800, 612), (32, 800)],
    ("conv", "hvi_ardae"): [*2 * CONV_TRUNK, (800, 512), (100, 800), (100, 800), (800, 612), (32, 800), (32, 800)],
    ("resconv", "gaussian"): [*RESCONV_TRUNK, (32, 450), (32, 450)],
    ("resconv", "ivi_ardae"): [*RESCONV_TRUNK, *residual(550, 450), *residual(450, 32)],
    ("resconv", "hvi_ardae"): [*RESCONV_TRUNK, (100, 450), (100, 450), (450, 550), (32, 450), (32, 450)],
}
AUXILIARY: dict[str, Shapes] = {
    "mlp": [(300, 332), (100, 300), (100, 300)],
    "conv": [*CONV_TRUNK, (800, 544), (100, 800), (100, 800)],
    "resconv": [(450, 482), (100, 450), (100, 450)],
}
DECODERS: dict[str, Shapes] = {"mlp": [(300, 32), (784, 300)], "conv": CONV_DECODER, "resconv": RESCONV_DECODER}
NETWORKS = {"mlp": MLP, "conv": CONV, "resconv": RESCONV}


def images() -> Data:
    blank = torch.zeros(2, 784)
    return Images(blank, blank, blank, dynamic=True, device="cpu")


def normal(*shape: int) -> Tensor:
    return torch.randn(shape)


def built(network: str, posterior: str, **changes: Any) -> Any:
    settings = VAESettings(
        data="dbmnist",
        posterior=posterior,  # type: ignore[arg-type]
        latent_dim=32,
        noise_dim=100,
        network=dataclasses.replace(NETWORKS[network], **changes),
        score=ScoreSettings(width=8, layers=1, samples_per_context=2),
    )
    return build_method(settings, images(), normal, "cpu")


def shapes(module: nn.Module) -> Counter[tuple[int, ...]]:
    """Of all weights; of a normalised one that of its direction."""
    weights = {name: value for name, value in module.named_parameters() if value.dim() > 1 and not name.endswith("original0")}
    return Counter(tuple(value.shape) for value in weights.values())


@pytest.mark.parametrize(("network", "posterior"), ENCODERS)
def test_an_encoder_has_the_layers_it_should(network: str, posterior: str) -> None:
    vae = built(network, posterior).vae
    assert shapes(vae.posterior) == Counter(ENCODERS[network, posterior])
    assert shapes(vae.decoder) == Counter(DECODERS[network])


@pytest.mark.parametrize("network", NETWORKS)
def test_methods_differ_in_nothing_but_what_they_are_trained_by(network: str) -> None:
    auxiliary = built(network, "hvi_auxiliary")
    assert shapes(auxiliary.auxiliary) == Counter(AUXILIARY[network])
    assert shapes(auxiliary.vae) == shapes(built(network, "hvi_ardae").vae)
    assert shapes(built(network, "ivi_avb").vae) == shapes(built(network, "ivi_ardae").vae)


# What equal_depth adds to ENCODERS: a hidden layer before the outputs of a law of x alone, where conv has one anyway
EQUAL_DEPTH: dict[str, Shapes] = {"mlp": [(300, 300)], "conv": [], "resconv": [(450, 450)]}


@pytest.mark.parametrize(("network", "posterior"), ENCODERS)
def test_equal_depth_adds_a_hidden_layer_to_laws_of_x_alone(network: str, posterior: str) -> None:
    vae = built(network, posterior, equal_depth=True).vae
    added = [] if posterior == "ivi_ardae" else EQUAL_DEPTH[network]
    assert shapes(vae.posterior) == Counter(ENCODERS[network, posterior] + added)
    assert shapes(vae.decoder) == Counter(DECODERS[network])


def test_the_digits_posteriors_are_equally_deep() -> None:
    """Of vae_digits.yaml: three hidden layers between x and every output, two of them of x alone."""
    experiment = load_experiment(CONFIGS / "vae_digits.yaml")
    trunk, joined, alone = [(200, 64), (200, 200)], (200, 232), (200, 200)
    implicit = Counter([*trunk, joined, (2, 200)])
    hierarchical = Counter([*trunk, alone, (32, 200), (32, 200), joined, (2, 200), (2, 200)])
    expected = {
        "gaussian": Counter([*trunk, alone, (2, 200), (2, 200)]),
        "ivi_ardae": implicit,
        "ivi_avb": implicit,
        "hvi_ardae": hierarchical,
        "hvi_auxiliary": hierarchical,
    }
    for point in experiment.grid_points():
        settings = experiment.settings(point)
        method: Any = build_method(settings, load_data(settings, "cpu"), normal, "cpu")
        assert shapes(method.vae.posterior) == expected.pop(settings.posterior), settings.posterior
    assert not expected


def test_the_released_networks_are_deeper() -> None:
    """Of vae_dbmnist_mlp_released.yaml: four layers see x, then one with noise; three in the decoder."""
    experiment = load_experiment(CONFIGS / "vae_dbmnist_mlp_released.yaml")
    (point,) = experiment.grid_points()
    vae = build_method(experiment.settings(point), images(), normal, "cpu").vae
    assert shapes(vae.posterior) == Counter([(300, 784), *3 * [(300, 300)], (300, 400), (32, 300)])
    assert shapes(vae.decoder) == Counter([(300, 32), *2 * [(300, 300)], (784, 300)])


# (architecture, posterior): how many numbers of the encoder an estimator is told
CONTEXTS = {("mlp", "hvi_ardae"): 600, ("conv", "hvi_ardae"): 1600, ("resconv", "hvi_ardae"): 450} | {
    (network, posterior): settings.width for network, settings in NETWORKS.items() for posterior in ("ivi_ardae", "ivi_avb")
}


@pytest.mark.parametrize(("network", "posterior"), CONTEXTS)
def test_an_estimator_is_told_hidden_layers(network: str, posterior: str) -> None:
    method, x = built(network, posterior), torch.rand(3, 784).round()
    features = method.vae.posterior.encode(x).detach()
    context, centre = fit_estimator(method, x)
    told = method.vae.posterior.hidden(features)
    assert torch.equal(context, told) and method.estimator.context_dim == context.shape[1] == CONTEXTS[network, posterior]
    if posterior != "hvi_ardae":
        torch.testing.assert_close(method.vae.posterior.out(told), centre)  # that is, at zero noise


@pytest.mark.parametrize("network", NETWORKS)
def test_hidden_layers_of_a_hierarchy_are_those_at_zero_noise(network: str) -> None:
    """What the outputs of q(z0 | x) and of q(z | z0, x) are made of when b(x) is; of resconv the second alone."""
    q, seen = built(network, "hvi_ardae").vae.posterior, list[Tensor]()
    features = q.encode(torch.rand(3, 784).round())
    for out in (q.first_out, q.out):
        out.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].squeeze(1)))
    q.centre_of(features)
    first, second = seen
    torch.testing.assert_close(q.hidden(features), second if network == "resconv" else torch.cat([first, second], 1))


# What the authors' code starts from Xavier's uniform weights and without biases; it leaves torch's where nothing is named
XAVIER = {
    ("mlp", "ivi_ardae"): ["decoder"],
    ("mlp", "ivi_avb"): ["decoder"],
    ("mlp", "hvi_ardae"): ["posterior", "decoder"],
    ("conv", "ivi_ardae"): ["posterior", "decoder"],
    ("conv", "ivi_avb"): ["posterior", "decoder"],
    ("conv", "hvi_ardae"): ["posterior", "decoder"],
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("posterior", ["gaussian", "hvi_auxiliary", "hvi_ardae", "ivi_ardae", "ivi_avb"])
def test_released_weights_start_as_in_the_authors_code(network: str, posterior: str) -> None:
    """Scale of every layer's weights: U(-sqrt(6 / (in + out)), ...) with no bias where Xavier's, else torch's U(-1 / sqrt(in), ...)."""
    vae = built(network, posterior, initialisation="released").vae
    wide = "posterior.out" if network == "mlp" and posterior in ("ivi_ardae", "ivi_avb") else None
    for name, layer in vae.named_modules():
        if not isinstance(layer, (nn.Linear, nn.Conv2d)) or hasattr(layer, "parametrizations"):
            continue
        fan_in = layer.weight[0].numel()
        fan_out = layer.weight.numel() // layer.weight.shape[1]
        is_xavier = name.split(".")[0] in XAVIER.get((network, posterior), [])
        largest = (6 / (fan_in + fan_out)) ** 0.5 if is_xavier else fan_in**-0.5
        assert layer.bias is not None and (layer.bias.abs().max() == 0) == is_xavier, name
        if name == wide:
            assert layer.weight.std().item() == pytest.approx(1, abs=0.05)
        else:
            assert 0.97 * largest < layer.weight.abs().max().item() <= largest * 1.000001, name


def test_a_released_toy_starts_with_wide_latents_and_means() -> None:
    network = dataclasses.replace(TOY, initialisation="released")
    settings = VAESettings(data="toy", latent_dim=2, noise_dim=10, network=network, score=ScoreSettings(width=8, layers=1))
    vae: Any = build_method(settings, Toy("cpu"), normal, "cpu").vae
    of_mean, of_log_variance = vae.decoder.body[1].weight.chunk(2)
    assert vae.posterior.out.weight.std().item() == pytest.approx(1, abs=0.15)
    assert of_mean.std().item() == pytest.approx(1, abs=0.15)
    assert of_log_variance.abs().max().item() <= 1 / 16  # torch's: 256 inputs


def test_the_toy_has_the_encoder_of_table_5_and_the_decoder_of_appendix_f() -> None:
    settings = VAESettings(data="toy", latent_dim=2, noise_dim=10, network=TOY, score=ScoreSettings(width=8, layers=1))
    vae = build_method(settings, Toy("cpu"), normal, "cpu").vae
    assert shapes(vae.posterior) == Counter([(256, 2), (256, 266), (256, 256), (2, 256)])
    assert shapes(vae.decoder) == Counter([(256, 2), (256, 256), (4, 256)])


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("posterior", ["gaussian", "hvi_ardae", "ivi_ardae"])
def test_what_goes_in_and_out(network: str, posterior: str) -> None:
    vae, x = built(network, posterior).vae, torch.rand(3, 784).round()
    z = vae.posterior.draw(x, torch.randn(3, 5, vae.posterior.noise_dim))
    assert z.shape == (3, 5, 32) and vae.posterior.centre(x).shape == (3, 32)
    assert vae.posterior.hidden(vae.posterior.encode(x)).shape == (3, vae.posterior.hidden_dim)
    assert vae.log_joint(x, z).shape == (3, 5)
    assert vae.decoder.mean(z[:, 0]).shape == (3, 784)


def test_convolutions_of_a_hierarchy_are_each_level_s_own() -> None:
    """Another first trunk changes q(z0 | x), another second one q(z | z0, x) alone, and a third h(z0 | z, x) alone."""
    method, x = built("conv", "hvi_auxiliary"), torch.rand(3, 784).round()
    q, noise, z = method.vae.posterior, torch.randn(3, 1, 132), torch.randn(3, 1, 32)

    def means() -> list[Tensor]:
        features = q.encode(x)
        drawn = q.through(features, noise)
        return [drawn.first.mean, drawn.second.mean, method.auxiliary(x, features, z).mean]

    before, changed = means(), []
    for trunk in (method.auxiliary.trunk, q.second_trunk, q.trunk):
        nn.init.normal_(next(trunk.parameters()))
        after = means()
        changed.append([not torch.equal(one, other) for one, other in zip(before, after, strict=True)])
        before = after
    assert changed == [[False, False, True], [False, True, False], [True, True, False]]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("posterior", ["gaussian", "hvi_ardae", "ivi_ardae"])
def test_draws_do_not_depend_on_what_is_drawn_along(network: str, posterior: str) -> None:
    q: Posterior = built(network, posterior).vae.posterior
    x, noise = torch.rand(3, 784).round(), torch.randn(3, 4, q.noise_dim)
    together = q.draw(x, noise)
    torch.testing.assert_close(q.draw(x[1:2], noise[1:2, 2:3]), together[1:2, 2:3])
    torch.testing.assert_close(q.draw(x, torch.zeros_like(noise))[:, 0], q.centre(x))


@pytest.mark.usefixtures("float64")
def test_noise_joins_as_if_concatenated() -> None:
    features, extra = torch.randn(3, 6), torch.randn(3, 4, 2)
    joined = torch.cat([features.unsqueeze(1).expand(-1, 4, -1), extra], -1)
    joint = Joint(6, 2, 5)
    torch.testing.assert_close(joint(features, extra), functional.linear(joined, joint.layer.weight, joint.layer.bias))
    mixer = Mixer(6, 2, 5, 2, "softplus")
    first = functional.softplus(functional.linear(joined, mixer.joint.layer.weight, mixer.joint.layer.bias))
    torch.testing.assert_close(mixer(features, extra), mixer.hidden(first))


@pytest.mark.usefixtures("float64")
def test_a_residual_mixer_is_a_residual_layer_on_the_concatenation() -> None:
    features, extra = torch.randn(3, 6), torch.randn(3, 4, 2)
    mixer: Any = ResidualMixer(6, 2, 5, "elu")
    plain = ResidualLinear(8, 5, "elu")
    plain.first, plain.skip, plain.second = mixer.first.layer, mixer.skip.layer, mixer.second
    joined = torch.cat([features.unsqueeze(1).expand(-1, 4, -1), extra], -1)
    torch.testing.assert_close(mixer(features, extra), functional.elu(plain(joined)))


@pytest.mark.usefixtures("float64")
def test_residual_blocks_are_what_table_5_means() -> None:
    """W elu(V x) + U x, of dense layers and of convolutions, from their weights."""
    dense: Any = ResidualLinear(8, 5, "elu")
    conv: Any = ResidualConv(2, 3, 2, "elu")
    x, image = torch.randn(4, 8), torch.randn(4, 2, 6, 6)
    inner = functional.elu(functional.linear(x, dense.first.weight, dense.first.bias))
    skip = functional.linear(x, dense.skip.weight, dense.skip.bias)
    torch.testing.assert_close(dense(x), functional.linear(inner, dense.second.weight, dense.second.bias) + skip)
    inner = functional.elu(functional.conv2d(image, conv.first.weight, conv.first.bias, 2, 1))
    skip = functional.conv2d(image, conv.skip.weight, conv.skip.bias, 2, 1)
    torch.testing.assert_close(conv(image), functional.conv2d(inner, conv.second.weight, conv.second.bias, 1, 1) + skip)


@pytest.mark.parametrize("posterior", ["ivi_ardae", "hvi_ardae"])
def test_all_layers_of_residual_blocks_are_normalised(posterior: str) -> None:
    vae = built("resconv", posterior).vae
    blocks = [module for module in vae.modules() if isinstance(module, (ResidualLinear, ResidualConv, ResidualMixer))]
    layers = [layer for block in blocks for layer in block.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    assert len(layers) == 3 * len(blocks) > 30
    assert all(hasattr(layer, "parametrizations") for layer in layers)


def test_normalised_weights_start_with_rows_of_length_one() -> None:
    layer = ResidualLinear(8, 5, "elu").first
    assert isinstance(layer.weight, Tensor)
    torch.testing.assert_close(layer.weight.norm(dim=1), torch.ones(5))


@pytest.mark.parametrize("network", NETWORKS)
def test_pixels_are_centred_for_every_architecture(network: str) -> None:
    """The trunk of pixels x is the trunk's network of 2 x - 1."""
    trunk = ARCHITECTURES[network](NETWORKS[network], 784, centred=True).trunk()
    x = torch.rand(2, 784)
    torch.testing.assert_close(trunk(x), trunk.network(2 * x - 1))  # type: ignore[operator]


@pytest.mark.parametrize(("raw", "bounded"), [(-50.0, -4.0), (0.0, 0.0), (8.0, 4.0)])
def test_log_variances_have_a_soft_floor_and_a_soft_ceiling(raw: float, bounded: float) -> None:
    """Floor -4 and ceiling 4: half way between they hardly show, and beyond the ceiling there is a gradient that leads back."""
    out = GaussianOut(1, 1, 4.0, 4.0)
    nn.init.zeros_(out.log_variance.weight), nn.init.constant_(out.log_variance.bias, raw)
    log_variance = out(torch.ones(1, 1)).log_variance
    assert log_variance.item() == pytest.approx(bounded, abs=0.05) and log_variance.item() < 4
    log_variance.backward()
    assert out.log_variance.bias.grad is not None and (out.log_variance.bias.grad.item() > 0.01 or raw < 0)


def test_the_bounds_are_those_of_the_settings() -> None:
    for ceiling in (None, 2.0):
        network = NetworkSettings(width=8, log_variance_floor=3.0, log_variance_ceiling=ceiling)
        settings = VAESettings(posterior="hvi_auxiliary", network=network)
        method = build_method(settings, Toy("cpu"), normal, "cpu")
        posterior, auxiliary = method.vae.posterior, method.model["auxiliary"]
        assert isinstance(posterior, HierarchicalPosterior) and isinstance(auxiliary, AuxiliaryModel)
        assert {(out.floor, out.ceiling) for out in (posterior.first_out, posterior.out)} == {(3.0, ceiling)}
        assert (auxiliary.out.floor, auxiliary.out.ceiling) == (None, ceiling)
