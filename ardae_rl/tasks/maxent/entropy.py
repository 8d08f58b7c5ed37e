"""How much entropy a law has, from its samples alone.

Notation: N samples, D dimension.
Reference: Kozachenko & Leonenko 1987; Kraskov, Stögbauer & Grassberger 2004, arXiv:cond-mat/0305641.
"""

import math

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import digamma, gammaln

NEIGHBOUR = 4


def neighbour_entropy(x: np.ndarray) -> float:
    """Entropy in nats of the law behind samples x (N, D), from the distance r of each to its fourth neighbour.

    digamma(N) - digamma(4) + log V_D + D mean log r, V_D the volume of the unit ball, in coordinates whitened by the samples' covariance.
    In ten dimensions biased upwards: compare with the same estimate of a law whose entropy is known. NaN for samples that are not finite.
    """
    if not np.isfinite(x).all():
        return math.nan
    count, dim = x.shape
    root = np.linalg.cholesky(np.atleast_2d(np.cov(x.T)))
    white = np.linalg.solve(root, (x - x.mean(0)).T).T
    distance = cKDTree(white).query(white, k=[NEIGHBOUR + 1])[0]
    log_volume = 0.5 * dim * math.log(math.pi) - gammaln(0.5 * dim + 1)
    log_det = np.log(np.diag(root)).sum()
    return float(digamma(count) - digamma(NEIGHBOUR) + log_volume + dim * np.log(distance).mean() + log_det)
