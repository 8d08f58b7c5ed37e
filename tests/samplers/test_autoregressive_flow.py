"""The flow: its density is that of its samples, and it is as large as it was asked to be."""

import pytest
import torch
from torch.distributions import Normal

from ardae_rl.samplers.autoregressive_flow import effective_parameters, flow_of_size, spline_flow

pytestmark = pytest.mark.usefixtures("float64")


def test_the_density_of_a_sample_is_that_of_its_noise_over_the_jacobian() -> None:
    flow, noise = spline_flow(4, width=8), torch.randn(5, 4)
    x, log_prob = flow.draw_with_log_prob(None, noise)
    for index in range(5):
        jacobian = torch.autograd.functional.jacobian(lambda z: flow.draw(None, z[None])[0], noise[index])
        expected = Normal(0.0, 1.0).log_prob(noise[index]).sum() - torch.linalg.slogdet(jacobian).logabsdet
        torch.testing.assert_close(log_prob[index], expected)
    torch.testing.assert_close(flow.draw(None, noise), x)


def test_the_density_integrates_to_one() -> None:
    flow = spline_flow(2, width=8)
    axis = torch.linspace(-8, 8, 401)
    with torch.no_grad():
        mass = flow.log_prob(None, torch.cartesian_prod(axis, axis)).exp().sum() * (16 / 400) ** 2
    assert float(mass) == pytest.approx(1, abs=2e-3)


def test_drawing_and_evaluating_agree() -> None:
    flow = spline_flow(3, width=8)
    x, log_prob = flow.draw_with_log_prob(None, torch.randn(20, 3))
    torch.testing.assert_close(flow.log_prob(None, x), log_prob, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize(("dim", "parameters"), [(2, 20_000), (10, 140_000), (32, 160_000)])
def test_a_flow_of_a_size_is_the_widest_that_fits(dim: int, parameters: int) -> None:
    flow = flow_of_size(dim, parameters)
    width = flow.steps[0].hyper[0].out_features  # type: ignore[index,union-attr]
    assert effective_parameters(flow) <= parameters < effective_parameters(spline_flow(dim, width=int(width) + 1))
    assert effective_parameters(flow) > 0.95 * parameters


def test_masked_entries_do_not_count() -> None:
    """Changing a weight under a mask changes nothing, so it is no parameter."""
    flow = spline_flow(3, width=4)
    counted = effective_parameters(flow)
    for parameter in flow.parameters():
        parameter.requires_grad_()
    x, log_prob = flow.draw_with_log_prob(None, torch.randn(64, 3))
    (x.sum() + log_prob.sum()).backward()
    touched = sum(int((parameter.grad != 0).sum()) for parameter in flow.parameters() if parameter.grad is not None)
    assert touched <= counted < sum(parameter.numel() for parameter in flow.parameters())


def test_one_dimension_is_refused() -> None:
    with pytest.raises(ValueError, match="dim must be at least 2 for an autoregressive flow, got 1"):
        spline_flow(1)
