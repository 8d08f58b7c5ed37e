"""A random potential that is a proper density: most networks are not, for they grow or level off far out."""

import torch

from ardae_rl.score import ARDAE


def concave(estimator: ARDAE) -> ARDAE:
    """psi = -sum |w| softplus(+-v x + b(c)): a random law about the centre, of about unit width, whose normalising constant exists."""
    body, out = estimator.network.body, estimator.network.out
    with torch.no_grad():
        torch.nn.init.normal_(out.weight).abs_().neg_()
        half = len(body.bias) // 2
        body.from_input.weight.mul_(4)
        body.from_input.weight[half:], out.weight[:, half:] = -body.from_input.weight[:half], out.weight[:, :half].clone()
    return estimator
