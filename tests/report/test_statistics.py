"""Each statistic against a case worked by hand or a law in closed form, and the intervals by how often they hold the truth."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import signal

from ardae_rl.report import statistics
from ardae_rl.report.statistics import interquartile_mean, performance_profile, probability_of_improvement, smoothed

DOCS = Path(__file__).parents[2] / "docs" / "evaluating-and-reporting.md"


def array(*values: float) -> np.ndarray:
    return np.array(values, float)


def test_the_interquartile_mean_drops_a_quarter_at_either_end_of_all_runs_together() -> None:
    # Together, sorted: 0 1 | 2 3 4 5 | 9 100; two of eight go at either end.
    assert interquartile_mean([array(100, 0, 2, 4), array(1, 9, 3, 5)]).value == 3.5
    assert interquartile_mean([array(1, 2, 9)]).value == 4, "below four runs, the mean"
    assert interquartile_mean([array(1, 2, 3, 4, 100)]).value == 3


def test_a_profile_is_the_share_of_runs_strictly_above() -> None:
    profile = performance_profile([array(0, 1), array(1, 2)], array(-1, 0, 0.5, 1, 2))
    assert profile.value.tolist() == [1, 0.75, 0.75, 0.25, 0]
    assert (profile.low <= profile.value).all() and (profile.value <= profile.high).all() and (profile.low < profile.high).any()


def test_probability_of_improvement_counts_pairs_within_an_environment_and_ties_by_half() -> None:
    # Environment 1: of 1 2 5 against 2 2: 0 + 0 + 1/2 + 1/2 + 1 + 1 = 3 of 6. Environment 2: 4 above 0, 1, 2 and 10 not above: 3 of 4.
    ours, theirs = [array(1, 2, 5), array(4)], [array(2, 2), array(0, 1, 2, 10)]
    assert probability_of_improvement(ours, theirs).value == pytest.approx((3 / 6 + 3 / 4) / 2)
    assert probability_of_improvement(theirs, ours).value == pytest.approx(1 - (3 / 6 + 3 / 4) / 2)
    assert probability_of_improvement(ours, ours).value == 0.5


def test_probability_of_improvement_of_two_gaussians_is_the_one_in_closed_form() -> None:
    rng = np.random.default_rng(0)
    estimate = probability_of_improvement([rng.normal(0.8, 1, 60)], [rng.normal(0, 1, 60)])
    truth = 0.5 * (1 + math.erf(0.8 / 2))  # X - Y ~ N(0.8, 2)
    assert estimate.low < truth < estimate.high and 0.05 < estimate.high - estimate.low < 0.25


def test_a_bootstrap_resamples_within_environments() -> None:
    """Each environment's runs are all alike, so whatever is drawn within them, nothing changes; drawn across, it would."""
    strata = [array(0, 0, 0), array(1, 1, 1), array(5, 5, 5)]
    estimate = interquartile_mean(strata)
    assert estimate.low == estimate.high == estimate.value
    assert interquartile_mean([np.concatenate(strata)]).low < estimate.value


def test_one_run_of_an_environment_has_no_interval() -> None:
    estimate = interquartile_mean([array(3), array(1, 2)])
    assert estimate.value == 2 and math.isnan(estimate.low) and math.isnan(estimate.high)


def test_intervals_hold_the_truth_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 500)  # enough for the ends of one interval in two hundred
    rng = np.random.default_rng(1)
    truth = 0.5  # of two environments with means 0 and 1, spread alike and symmetric, the interquartile mean is their mean
    hits = 0
    for seed in range(200):
        estimate = interquartile_mean([rng.normal(0, 1, 20), rng.normal(1, 1, 20)], seed=seed)
        hits += int(estimate.low <= truth <= estimate.high)
    assert abs(hits / 200 - 0.93) < 3 * math.sqrt(0.93 * 0.07 / 200), "percentile intervals of 40 runs are a little narrow"


def documented(after: str) -> dict[int, float]:
    """Shares of cases by number of runs, from the sentence of docs/evaluating-and-reporting.md that begins so."""
    found = re.search(rf"{after}((?:[^.]|\.\d)*)", " ".join(DOCS.read_text().split()))
    assert found
    sentence = found.group(1)
    return {int(runs): float(share) / 100 for share, runs in re.findall(r"([\d.]+)%(?: of cases)? with (\d+)", sentence)}


@pytest.mark.parametrize("runs", [2, 3, 5])
def test_few_runs_have_the_coverage_that_is_documented(monkeypatch: pytest.MonkeyPatch, runs: int) -> None:
    """Not the 95% of its name. Of two runs the interval is from one to the other, of three from least to largest: in closed form."""
    monkeypatch.setattr(statistics, "RESAMPLES", 1000)
    rng, repeats = np.random.default_rng(2), 400
    samples = rng.normal(size=(repeats, runs))
    estimates = [interquartile_mean([sample], seed=seed) for seed, sample in enumerate(samples)]
    hits = np.mean([estimate.low <= 0 <= estimate.high for estimate in estimates])
    expected = documented("holds the truth in")[runs]
    assert abs(hits - expected) < 3 * math.sqrt(expected * (1 - expected) / repeats)
    if runs < 5:
        assert expected == 1 - 2 / 2**runs
        ends = [np.allclose((sample.min(), sample.max()), (e.low, e.high)) for sample, e in zip(samples, estimates, strict=True)]
        assert np.mean(ends) > 0.9, "1000 resamples now and then miss the end, of which 1 in 27 is"


@pytest.mark.parametrize("runs", [2, 3, 5])
def test_equal_methods_seem_to_differ_for_certain_as_often_as_documented(monkeypatch: pytest.MonkeyPatch, runs: int) -> None:
    """All of one method's runs above all of the other's: 2 of the orders of 2 n runs."""
    monkeypatch.setattr(statistics, "RESAMPLES", 100)
    expected = 2 / math.comb(2 * runs, runs)
    assert documented("with an interval of no width, in")[runs] == pytest.approx(expected, rel=0.02)
    rng, repeats = np.random.default_rng(3), 300
    estimates = [probability_of_improvement([rng.normal(size=runs)], [rng.normal(size=runs)]) for _ in range(repeats)]
    certain = [estimate.value in (0, 1) and estimate.low == estimate.high == estimate.value for estimate in estimates]
    assert abs(np.mean(certain) - expected) < 3 * math.sqrt(expected * (1 - expected) / repeats)


def test_smoothing_is_savitzky_golays() -> None:
    curve = np.random.default_rng(0).normal(size=30)
    weights = array(-2, 3, 6, 7, 6, 3, -2) / 21  # window 7, order 2, from the tables of Savitzky and Golay
    np.testing.assert_allclose(smoothed(curve)[3:-3], np.convolve(curve, weights, mode="valid"))
    np.testing.assert_allclose(smoothed(curve), signal.savgol_filter(curve, 7, 2))


@pytest.mark.parametrize("length", range(1, 12))
def test_smoothing_keeps_parabolas_whatever_the_length(length: int) -> None:
    parabola = array(*(3 - x + 0.5 * x**2 for x in range(length)))
    np.testing.assert_allclose(smoothed(parabola), parabola, atol=1e-12)


def test_short_curves_are_smoothed_by_the_widest_window_that_fits() -> None:
    curve = array(0, 1, 0, 1, 0, 1)
    np.testing.assert_allclose(smoothed(curve), signal.savgol_filter(curve, 5, 2))
    assert smoothed(curve[:2]).tolist() == [0, 1]
