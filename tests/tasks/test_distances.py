"""Distances between samples: closed forms, metric properties, and what they refuse."""

import math

import pytest
import torch

from ardae_rl.tasks.distances import earth_movers_distance, energy_distance, random_directions, sliced_wasserstein_2


def normal(count: int, dim: int, seed: int) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def test_the_earth_movers_distance_of_a_shifted_set_is_the_shift() -> None:
    a = normal(200, 3, 0)
    shift = torch.tensor([3.0, 0.0, -4.0])
    assert earth_movers_distance(a, a + shift) == pytest.approx(5, rel=1e-6)
    assert earth_movers_distance(a, a[torch.randperm(200)]) == pytest.approx(0, abs=1e-6)


def test_on_a_line_the_earth_movers_distance_sorts() -> None:
    a, b = normal(300, 1, 0), 2 * normal(300, 1, 1) + 1
    assert earth_movers_distance(a, b) == pytest.approx(float((a.sort(0).values - b.sort(0).values).abs().mean()), rel=1e-5)


def test_sets_of_different_sizes_are_weighted() -> None:
    """One point at 0 against three at 0, 3 and 6: a third of the mass goes each way."""
    assert earth_movers_distance(torch.zeros(1, 1), torch.tensor([[0.0], [3.0], [6.0]])) == pytest.approx(3)


def test_the_sliced_distance_of_scaled_gaussians_is_known() -> None:
    """For N(0, I) and N(m, s^2 I) each projection has W2^2 = (theta . m)^2 + (s - 1)^2; the mean of (theta . m)^2 is |m|^2 / D."""
    count, dim = 20_000, 3
    a, b = normal(count, dim, 0), 2 * normal(count, dim, 1) + torch.tensor([3.0, 0.0, 0.0])
    directions = random_directions(200, dim, torch.Generator().manual_seed(2))
    assert sliced_wasserstein_2(a, b, directions) == pytest.approx(math.sqrt(3 + 1), rel=0.05)


def test_directions_are_of_length_one_and_point_everywhere() -> None:
    directions = random_directions(20_000, 3, torch.Generator().manual_seed(0))
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(20_000))
    torch.testing.assert_close(directions.T @ directions / 20_000, torch.eye(3) / 3, atol=0.01, rtol=0)


def test_the_energy_distance_is_unbiased_and_that_of_far_points_twice_their_distance() -> None:
    same = [energy_distance(normal(100, 2, seed), normal(100, 2, 1000 + seed)) for seed in range(200)]
    mean, deviation = torch.tensor(same).mean(), torch.tensor(same).std()
    assert abs(mean) < 4 * deviation / 200**0.5
    assert min(same) < 0
    assert energy_distance(torch.zeros(5, 2), torch.full((5, 2), 3.0)) == pytest.approx(2 * math.sqrt(18), rel=1e-6)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="b must be finite, got 1 NaN or infinite of 4 numbers"):
        earth_movers_distance(torch.zeros(2, 2), torch.tensor([[0.0, math.nan], [0.0, 0.0]]))
    with pytest.raises(ValueError, match=r"a and b must have the same shape, got \(3, 2\) and \(2, 2\)"):
        sliced_wasserstein_2(torch.zeros(3, 2), torch.zeros(2, 2), torch.eye(2))
    with pytest.raises(ValueError, match=r"b must hold at least one point, got shape \(0, 2\)"):
        earth_movers_distance(torch.zeros(3, 2), torch.zeros(0, 2))
    with pytest.raises(ValueError, match="a and b must hold two points or more each, got 3 and 1"):
        energy_distance(torch.zeros(3, 2), torch.zeros(1, 2))
