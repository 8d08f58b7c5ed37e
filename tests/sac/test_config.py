"""Settings that make no sense are refused where they are written."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from ardae_rl.sac import (
    CriticConfig,
    FlowPolicyConfig,
    GaussianPolicyConfig,
    ImplicitPolicyConfig,
    JacobianClampingConfig,
    SACConfig,
    ScoreConfig,
)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (ImplicitPolicyConfig, {"noise_dim": 0}, r"noise_dim must be 1 or greater, got 0"),
        (ImplicitPolicyConfig, {"encoder_layers": 0}, r"encoder_layers must be 1 or greater, got 0"),
        (ImplicitPolicyConfig, {"head_width": 0}, r"head_width must be 1 or greater, got 0"),
        (GaussianPolicyConfig, {"width": -1}, r"width must be 1 or greater, got -1"),
        (GaussianPolicyConfig, {"log_std_min": 3.0}, r"log_std_min must be below log_std_max = 2\.0, got 3\.0"),
        (FlowPolicyConfig, {"flows": 0}, r"flows must be 1 or greater, got 0"),
        (FlowPolicyConfig, {"bins": 1}, r"bins must be 2 or greater, got 1"),
        (CriticConfig, {"hidden_layers": 0}, r"hidden_layers must be 1 or greater, got 0"),
        (ScoreConfig, {"context_layers": -1}, r"context_layers must be 0 or greater, got -1"),
        (ScoreConfig, {"samples_per_context": 1}, r"samples_per_context must be 2 or greater, got 1"),
        (ScoreConfig, {"form": "residual"}, r"form must be 'gradient': .*, got 'residual'"),
        (ScoreConfig, {"proposal_std": 0.0}, r"proposal_std must be greater than 0, got 0\.0"),
        (JacobianClampingConfig, {"eta": -0.1}, r"eta must be greater than 0, got -0\.1"),
        (SACConfig, {"alpha": -0.1}, r"alpha must be 0 or greater, got -0\.1"),
        (SACConfig, {"gamma": 1.01}, r"gamma must be in \[0, 1\], got 1\.01"),
        (SACConfig, {"flow_lr": 0.0}, r"flow_lr must be greater than 0, got 0\.0"),
        (SACConfig, {"tau": 0.0}, r"tau must be in \(0, 1\], got 0\.0"),
        (SACConfig, {"max_non_finite": 0}, r"max_non_finite must be 1 or greater, got 0"),
    ],
)
def test_impossible_settings_are_refused(kind: Callable[..., object], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**options)


def test_settings_do_not_change_after_construction() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SACConfig().alpha = 0.1  # type: ignore[misc]
