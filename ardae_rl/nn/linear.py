"""A matrix product that is fast on every CPU.

PyTorch sends float32 matrix products on a CPU to Intel MKL, which makes little of AVX-512 on processors of other makers
(docs/performance.md: how to measure it). The same wheel carries oneDNN, which does use it: there, float32 products of a size worth it go to
oneDNN. With AVX2 alone MKL keeps them. Numerically both are IEEE float32.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_PREFER_ONEDNN = torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"
_MIN_FEATURES, _MIN_PRODUCTS = 16, 2**24  # below this the call overhead outweighs the gain
_LONG = 2048  # rows from which a sum over them is worth an operation of its own


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias for x (N, in), weight (out, in), bias (out,); differentiable any number of times."""
    if not _worth_onednn(x, weight):
        return functional.linear(x, weight, bias)
    if torch.compiler.is_compiling():
        return _opaque_product(x, weight, bias)
    if not torch.is_grad_enabled():
        return _product(x, weight, bias)
    return _OneDNNLinear.apply(x, weight, bias)


def linear_relu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """relu(x @ weight.T + bias) in one call where oneDNN does it; not differentiable."""
    if _worth_onednn(x, weight):
        return torch.ops.mkldnn._linear_pointwise(_dense(x), _dense(weight), bias, "relu", [], "")
    return functional.linear(x, weight, bias).relu_()


def weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """grad.T @ x for grad (N, out), x (N, in): what ``linear`` passes back to its weight."""
    if len(x) < _LONG or not _worth_onednn(grad.t(), x.t()):
        return linear(grad.t(), x.t())
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():  # to be differentiated once more
        return linear(grad.t(), x.t())
    return _opaque_weight_gradient(grad, x)


def _worth_onednn(x: Tensor, weight: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and min(weight.shape) >= _MIN_FEATURES
        and x.shape[0] * weight.numel() >= _MIN_PRODUCTS
        and not torch.is_autocast_enabled("cpu")
        and _PREFER_ONEDNN
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(_dense(x), _dense(weight), bias, "none", [], "")


def _weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """As a product of transposed matrices oneDNN would first have to transpose them, which here takes as long as the product."""
    return torch.ops.aten.mkldnn_linear_backward_weights(grad.to_mkldnn(), x.to_mkldnn(), grad, False)[0]


def _dense(matrix: Tensor) -> Tensor:
    """oneDNN falls back to a reference loop (a thousand times slower) on strides that are neither row- nor column-major."""
    return matrix if matrix.is_contiguous() or matrix.t().is_contiguous() else matrix.contiguous()


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], inputs[1])


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    needs_x, needs_weight, needs_bias = ctx.needs_input_grad
    return (
        linear(grad, weight.t()) if needs_x else None,
        weight_gradient(grad, x) if needs_weight else None,
        grad.sum(0) if needs_bias else None,
    )


class _OneDNNLinear(torch.autograd.Function):
    forward = staticmethod(_product)
    setup_context = staticmethod(_keep)
    backward = staticmethod(_backward)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        """Of many networks at once: one batched product, which oneDNN does not have in float32."""
        return torch.vmap(functional.linear, in_dims)(*inputs), 0


# The same for torch.compile, whose code generator cannot look inside; eager calls avoid its dispatch overhead.
_opaque_product = torch.library.custom_op("ardae_rl::onednn_linear", _product, mutates_args=())
_opaque_product.register_fake(lambda x, weight, bias: x.new_empty(x.shape[0], weight.shape[0]))
_opaque_product.register_autograd(_backward, setup_context=_keep)
_opaque_weight_gradient = torch.library.custom_op("ardae_rl::onednn_weight_gradient", _weight_gradient, mutates_args=())
_opaque_weight_gradient.register_fake(lambda grad, x: grad.new_empty(grad.shape[1], x.shape[1]))
