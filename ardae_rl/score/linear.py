"""A matrix product that is fast on every CPU.

PyTorch sends float32 matrix products on a CPU to Intel MKL, which runs at about half the machine's speed on processors of other makers.
The same wheel carries oneDNN, which does not; here float32 products of a size worth it go there. Numerically both are IEEE float32.
"""

import torch
from torch import Tensor
from torch.nn import functional

_HAS_ONEDNN = torch.backends.mkldnn.is_available()
_MIN_ROWS, _MIN_FEATURES = 64, 16  # below this the call overhead outweighs the gain


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias for x (N, in), weight (out, in), bias (out,); differentiable any number of times."""
    if _worth_onednn(x, weight):
        return _onednn_linear(x, weight, bias)
    return functional.linear(x, weight, bias)


def _worth_onednn(x: Tensor, weight: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.shape[0] >= _MIN_ROWS
        and min(weight.shape) >= _MIN_FEATURES
        and not torch.is_autocast_enabled("cpu")
        and _HAS_ONEDNN
    )


def _dense(matrix: Tensor) -> Tensor:
    """oneDNN falls back to a reference loop (a thousand times slower) on strides that are neither row- nor column-major."""
    return matrix if matrix.is_contiguous() or matrix.t().is_contiguous() else matrix.contiguous()


@torch.library.custom_op("ardae_rl::onednn_linear", mutates_args=())
def _onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(_dense(x), _dense(weight), bias, "none", [], "")


@_onednn_linear.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


def _keep(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(inputs[0], inputs[1])


def _backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
    x, weight = ctx.saved_tensors
    needs_x, needs_weight, needs_bias = ctx.needs_input_grad
    return (
        linear(grad, weight.t()) if needs_x else None,
        linear(grad.t(), x.t()) if needs_weight else None,
        grad.sum(0) if needs_bias else None,
    )


_onednn_linear.register_autograd(_backward, setup_context=_keep)
