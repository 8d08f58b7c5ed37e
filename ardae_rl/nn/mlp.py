"""Linear layers through the fast product of :mod:`ardae_rl.nn.linear`, and stacks of hidden ones."""

from torch import Tensor, nn

from ardae_rl.nn.linear import linear


class Dense(nn.Linear):
    """``nn.Linear`` on (..., in) through :func:`ardae_rl.nn.linear.linear`."""

    def forward(self, x: Tensor) -> Tensor:
        y = linear(x.reshape(-1, x.shape[-1]), self.weight, self.bias)
        return y if x.dim() == 2 else y.view(*x.shape[:-1], -1)


def mlp_layers(in_features: int, width: int, count: int) -> nn.ModuleList:
    """``count`` hidden layers of the given width; an empty list for 0."""
    return nn.ModuleList(Dense(in_features if i == 0 else width, width) for i in range(count))
