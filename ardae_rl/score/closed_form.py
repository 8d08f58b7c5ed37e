"""Derivatives of a potential network, written out: its gradient f in x, and from there those of a loss in the parameters.

A small network on few samples is otherwise more overhead than arithmetic.
Notation as in ``networks.py``: psi = w . h_L, h_l = act(z_l), z_l = V_l h_{l-1} + b_l; N samples of B contexts, K of each.
Identity: f = g_0 of the sweep g_{l-1} = V_l^T e_l, e_l = act'(z_l) g_l, g_L = w. The way back from F, the gradient of a loss in f, goes up
the sweep, G_0 = F, G_l = act'(z_l) (V_l G_{l-1}), with e_l G_{l-1}^T for V_l and G_L for w; and from there down the layers, with
(V_l G_{l-1}) g_l act''(z_l) arriving at each z_l.
Not here: second derivatives, mixed precision, ensembles; ``networks.py`` does without this file for those.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ardae_rl.nn.linear import linear, weight_gradient
from ardae_rl.score.body import ScoreBody

Found = list[tuple[Tensor, Tensor]]  # parameters, and the gradient in each


class _Sweep(NamedTuple):
    """V, h, z, g and e of every layer, first layer first; x (N, D)."""

    weights: list[Tensor]
    hidden: list[Tensor]
    pre: list[Tensor]
    down: list[Tensor]
    scaled: list[Tensor]


class _Gradients(NamedTuple):
    """Of what goes into a network; of weights and biases, in turn, None for the bias of the layer where the context joins."""

    of_context: Tensor  # (B, W), without contexts (W,)
    seed: Tensor
    from_sigma: Tensor | None
    layers: list[Tensor | None]


def gradient_of_potential(body: ScoreBody, x: Tensor, of_context: Tensor, seen: Tensor | None, seed: Tensor) -> Tensor:
    """f at x (B, K, D), one node of autograd's graph: once differentiable, in everything but x and ``seen``."""
    weights = [each for layer in body.chain for each in (layer.weight, layer.bias)]
    return _PotentialGradient.apply(body, x, of_context, seen, seed, body.from_sigma, *weights)


@torch.no_grad()
def denoising_gradients(network: Any, x: Tensor, context: Tensor | None, sigma: Tensor, u: Tensor) -> tuple[Tensor, Found]:
    """The mean of ||u + sigma f(x + sigma u; sigma)||^2 over samples (B, K, D), and its gradients, all in one.

    Of a :class:`.networks.PotentialNet` or a :class:`.networks.GaussianResidual` of one.
    """
    net: Any = getattr(network, "network", network)
    body, points = net.body, x + sigma * u
    features = [] if context is None else [context]
    for layer in body.context_encoder:
        features.append(layer(features[-1]))  # z in place of h, for the slope
        features.append(body.act.function(features[-1]))
    of_context = body.bias if body.from_context is None else body.from_context(features[-1]).add_(body.bias)
    seen = body.seen(sigma, x.dtype)
    field, saved = _sweep(body, points, of_context, seen, net.out.weight[0])
    base = 0.0 if net is network else network.base(points, sigma)
    residual = torch.addcmul(u, sigma, field.view(x.shape) + base)
    loss = residual.square().sum() / residual[..., 0].numel()
    found = _gradients(body, points, of_context, seen, saved, residual.mul_(sigma).mul_(2 / residual[..., 0].numel()))
    return loss, _by_parameter(body, net.out.weight, found) + _of_context(body, features, found.of_context)


def _sweep(body: ScoreBody, x: Tensor, of_context: Tensor, seen: Tensor | None, seed: Tensor) -> tuple[Tensor, _Sweep]:
    hidden, pre = body(x, of_context, seen)
    weights: list[Tensor] = [layer.weight for layer in body.chain]
    down, scaled = [seed.expand_as(hidden[-1])], []  # the last layer's first
    for weight, z, h in zip(reversed(weights), reversed(pre), reversed(hidden), strict=True):
        scaled.append(body.act.times_slope(down[-1], z, h))
        down.append(linear(scaled[-1], weight.t()))
    return down[-1], _Sweep(weights, hidden, pre, down[-2::-1], scaled[::-1])


def _gradients(body: ScoreBody, x: Tensor, of_context: Tensor, seen: Tensor | None, saved: _Sweep, grad: Tensor) -> _Gradients:
    """From F = ``grad`` (B, K, D)."""
    (batch, samples, dim), points = x.shape, x.reshape(-1, x.shape[-1])
    up, bends, of_weights = grad.reshape(-1, dim), [], []
    for weight, h, z, g, e in zip(*saved, strict=True):
        raised = linear(up, weight)
        of_weights.append(weight_gradient(e, up))
        bends.append((raised * g).mul_(body.act.curvature(z, h)))
        up = body.act.times_slope(raised, z, h)
    layers: list[Tensor | None] = []
    at_join, into = len(body.input_encoder), None
    for layer in reversed(range(len(bends))):
        at_z = bends[layer] if into is None else bends[layer].add_(body.act.times_slope(into, saved.pre[layer], saved.hidden[layer]))
        layers.append(None if layer == at_join else at_z.sum(0))
        layers.append(of_weights[layer] + weight_gradient(at_z, saved.hidden[layer - 1] if layer else points))
        if layer == at_join:
            at_context = at_z.view(batch, samples, -1).sum(1) if of_context.dim() == 2 else at_z.sum(0)
            at_sigma = None if seen is None else seen.reshape(1, -1).mm(at_z).view(-1)
        into = linear(at_z, saved.weights[layer].t()) if layer else None
    return _Gradients(at_context, up.sum(0), at_sigma, layers[::-1])


def _by_parameter(body: ScoreBody, seed: Tensor, found: _Gradients) -> Found:
    of_layers = [each for layer in body.chain for each in (layer.weight, layer.bias)]
    pairs = [*zip(of_layers, found.layers, strict=True), (body.from_sigma, found.from_sigma), (seed, found.seed.unsqueeze(0))]
    return [(parameter, grad) for parameter, grad in pairs if parameter is not None and grad is not None]


def _of_context(body: ScoreBody, features: list[Tensor], grad: Tensor) -> Found:
    """Of the layers on the context, ``features`` of which are c, z_1, h_1, z_2, ..., from the gradient in what they come to, (B, W)."""
    if body.from_context is None:
        return [(body.bias, grad)]
    found = [(body.bias, grad.sum(0)), (body.from_context.weight, weight_gradient(grad, features[-1]))]
    into = linear(grad, body.from_context.weight.t())
    for number in reversed(range(len(body.context_encoder))):
        layer: Any = body.context_encoder[number]
        h_before, z, h = features[2 * number : 2 * number + 3]
        at_z = body.act.times_slope(into, z, h)
        found += [(layer.weight, weight_gradient(at_z, h_before)), (layer.bias, at_z.sum(0))]
        into = linear(at_z, layer.weight.t()) if number else at_z
    return found


class _PotentialGradient(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, body: ScoreBody, x: Tensor, of_context: Tensor, seen: Tensor | None, seed: Tensor, from_sigma: Tensor, *weights: Tensor
    ) -> Tensor:
        field, saved = _sweep(body, x, of_context, seen, seed)
        ctx.body, ctx.has_sigma = body, seen is not None
        ctx.save_for_backward(x, of_context, *([] if seen is None else [seen]), *(each for part in saved for each in part))
        return field.view(x.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, of_context, *rest = ctx.saved_tensors
        seen = rest.pop(0) if ctx.has_sigma else None
        layers = len(rest) // 5
        saved = _Sweep(*(rest[i * layers : (i + 1) * layers] for i in range(5)))
        found = _gradients(ctx.body, x, of_context, seen, saved, grad)
        return None, None, found.of_context, None, found.seed, found.from_sigma, *found.layers
