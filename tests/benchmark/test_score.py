"""The benchmark compares what it says, on equal terms."""

import dataclasses

from benchmark import score


def test_the_contenders_differ_in_coordinates_only() -> None:
    fixed, per_context, amortised = (score.settings(label, steps=10) for label in score.LABELS)
    assert [each.score.standardisation for each in (fixed, per_context, amortised)] == ["fixed", "per_context", "amortised"]
    assert fixed.score.scale == 10_000
    same = {"standardisation": "fixed", "gaussian_residual": fixed.score.gaussian_residual}
    for each in (per_context, amortised):
        assert dataclasses.replace(each, score=dataclasses.replace(each.score, **same)) == fixed  # type: ignore[arg-type]


def test_a_little_training_beats_no_training() -> None:
    """The fixed scale and per_context need thousands of steps to show progress; amortised whitening needs two hundred."""
    chosen = dataclasses.replace(score.settings("amortised", steps=200), contexts=16, samples_per_context=16)
    untrained, trained = score.measure(dataclasses.replace(chosen, steps=1), seed=0), score.measure(chosen, seed=0)
    assert trained["relative_score_error"] < untrained["relative_score_error"]
    assert trained["log_density_error"] < untrained["log_density_error"]
