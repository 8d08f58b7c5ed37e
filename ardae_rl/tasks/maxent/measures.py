"""How far two samples are apart, and how much entropy a law has: exact transport and nearest neighbours.

Notation: N samples, D dimension.
"""

import math

import numpy as np
import ot
from scipy.spatial import cKDTree
from scipy.special import digamma, gammaln

NEIGHBOUR = 4
_MAX_ITERATIONS = 10_000_000


def earth_movers_distance(x: np.ndarray, y: np.ndarray) -> float:
    """The exact cost of moving samples x (N, D) to y (N, D), Euclidean: the Wasserstein-1 distance of the two empirical laws.

    Raises RuntimeError where the solver stops before it is optimal.
    """
    cost, log = ot.emd2([], [], ot.dist(x, y, metric="euclidean"), numItermax=_MAX_ITERATIONS, log=True)
    if log["warning"]:
        raise RuntimeError(f"the earth mover's distance of {len(x)} samples was not solved: {log['warning']} Lower emd_samples.")
    return float(cost)


def neighbour_entropy(x: np.ndarray) -> float:
    """Entropy in nats of the law behind samples x (N, D), from the distance r_i of each to its fourth neighbour (Kozachenko & Leonenko).

    digamma(N) - digamma(k) + log V_D + D mean log r, V_D the volume of the unit ball, in coordinates whitened by the samples' covariance.
    In ten dimensions biased upwards: compare with the same estimate of a law whose entropy is known.
    """
    count, dim = x.shape
    root = np.linalg.cholesky(np.atleast_2d(np.cov(x.T)))
    white = np.linalg.solve(root, (x - x.mean(0)).T).T
    distance = cKDTree(white).query(white, k=[NEIGHBOUR + 1])[0]
    log_volume = 0.5 * dim * math.log(math.pi) - gammaln(0.5 * dim + 1)
    log_det = np.log(np.diag(root)).sum()
    return float(digamma(count) - digamma(NEIGHBOUR) + log_volume + dim * np.log(distance).mean() + log_det)
