"""The fast matrix product is the ordinary one: values, first and second derivatives, any strides, and never slow.

Which library it comes from depends on the processor; every test here runs with either.
"""

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import ardae_rl.nn.linear
from ardae_rl.nn.linear import linear, linear_relu, weight_gradient

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN, so linear is functional.linear"
)
SIZES = [(64, 16, 16), (512, 256, 256), (100, 37, 19), (65, 300, 16), (10, 4, 4), (8192, 64, 48)]
LAYOUTS: dict[str, Callable[[int, int], Tensor]] = {
    "row-major": torch.randn,
    "column-major": lambda rows, columns: torch.randn(columns, rows).t(),
    "odd row stride": lambda rows, columns: torch.randn(rows, columns + 3)[:, :columns],
    "every other column": lambda rows, columns: torch.randn(rows, 2 * columns)[:, ::2],
    "one row repeated": lambda rows, columns: torch.randn(1, columns).expand(rows, columns),
}


@pytest.fixture(autouse=True, params=[pytest.param("oneDNN", marks=needs_onednn), "BLAS"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(ardae_rl.nn.linear, "_PREFER_ONEDNN", request.param == "oneDNN")
    return request.param


def test_the_chosen_library_does_the_product(library: str) -> None:
    x, weight, bias = torch.randn(512, 256), torch.randn(256, 256), torch.randn(256)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        linear(x, weight), linear_relu(x, weight, bias), weight_gradient(torch.randn(4096, 256), torch.randn(4096, 256))
    called = {event.key for event in profile.key_averages()}
    assert ("mkldnn::_linear_pointwise" in called) == (library == "oneDNN")
    assert bool(called & {"aten::mm", "aten::addmm"}) == (library == "BLAS")


def assert_product(product: Tensor, left: Tensor, right: Tensor, addend: Tensor | None = None) -> None:
    """product = left @ right + addend up to the rounding bound of a float32 sum of that length, in whatever order it was taken."""
    exact = left.double() @ right.double()
    magnitude = left.double().abs() @ right.double().abs()
    if addend is not None:
        exact, magnitude = exact + addend, magnitude + addend.abs()
    bound = (left.shape[1] + 2) * torch.finfo(torch.float32).eps * magnitude
    assert ((product - exact).abs() <= bound).all()


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), SIZES)
def test_values_and_gradients_are_exact_to_rounding(rows: int, inputs: int, outputs: int, with_bias: bool) -> None:
    x, weight = torch.randn(rows, inputs, requires_grad=True), torch.randn(outputs, inputs, requires_grad=True)
    bias = torch.randn(outputs, requires_grad=True) if with_bias else None
    out, seed = linear(x, weight, bias), torch.randn(rows, outputs)
    out.backward(seed)
    assert x.grad is not None and weight.grad is not None
    assert_product(out, x.detach(), weight.detach().t(), None if bias is None else bias.detach())
    assert_product(x.grad, seed, weight.detach())
    assert_product(weight.grad, seed.t(), x.detach())
    if bias is not None:
        assert bias.grad is not None
        assert_product(bias.grad[None], torch.ones(1, rows), seed)


@pytest.mark.parametrize("weight_layout", LAYOUTS)
@pytest.mark.parametrize("x_layout", LAYOUTS)
def test_strides_do_not_change_the_product(x_layout: str, weight_layout: str) -> None:
    x, weight = LAYOUTS[x_layout](96, 32).requires_grad_(), LAYOUTS[weight_layout](24, 32).requires_grad_()
    out = linear(x, weight)
    grads = torch.autograd.grad(out.sum(), (x, weight))
    assert_product(out, x.detach(), weight.detach().t())
    assert_product(grads[0], torch.ones(96, 24), weight.detach())
    assert_product(grads[1], torch.ones(24, 96), x.detach())


def seconds(function: Callable[[], object]) -> float:
    def once() -> float:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    return min(once() for _ in range(5))


@pytest.mark.parametrize("layout", ["odd row stride", "every other column", "one row repeated"])
def test_awkward_strides_are_not_slow(layout: str) -> None:
    """Left to itself oneDNN takes a reference loop there, a hundred times slower and more; a copy first costs well under ten times."""
    weight, plain, awkward = torch.randn(256, 256), torch.randn(512, 256), LAYOUTS[layout](512, 256)
    linear(plain, weight)
    assert seconds(lambda: linear(awkward, weight)) < 20 * seconds(lambda: linear(plain, weight))
    assert seconds(lambda: linear(plain, awkward)) < 40 * seconds(lambda: linear(plain, weight))


def second_derivatives(product: Callable[..., Tensor], x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    leaves = [part.detach().clone().requires_grad_() for part in (x, weight, bias)]
    slope = torch.autograd.grad(product(*leaves).tanh().sum(), leaves, create_graph=True)
    return torch.autograd.grad([part.square().sum() for part in slope], leaves)


@pytest.mark.parametrize("rows", [128, 4096])
def test_second_derivatives_are_those_of_float64(rows: int) -> None:
    x, weight, bias = torch.randn(rows, 32), torch.randn(48, 32) / 6, torch.randn(48)
    fast = second_derivatives(linear, x, weight, bias)
    exact = second_derivatives(functional.linear, x.double(), weight.double(), bias.double())
    for ours, theirs in zip(fast, exact, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def test_float64_stays_float64() -> None:
    x, weight = torch.randn(64, 16, dtype=torch.float64), torch.randn(16, 16, dtype=torch.float64)
    torch.testing.assert_close(linear(x, weight), x @ weight.t(), rtol=1e-14, atol=1e-13)


def test_autocast_rules_the_product_too() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(torch.randn(64, 16), torch.randn(16, 16)).dtype == torch.bfloat16


@pytest.mark.parametrize("x_layout", LAYOUTS)
@pytest.mark.parametrize("grad_layout", LAYOUTS)
def test_the_weights_gradient_is_a_product_of_any_strides(x_layout: str, grad_layout: str) -> None:
    grad, x = LAYOUTS[grad_layout](2500, 24), LAYOUTS[x_layout](2500, 300)
    assert_product(weight_gradient(grad, x), grad.t(), x)


@needs_onednn
@pytest.mark.parametrize("rows", [64, 4096])
@pytest.mark.parametrize("with_bias", [True, False])
def test_the_operator_keeps_what_it_promises_to_torch_compile(with_bias: bool, rows: int) -> None:
    x, weight = torch.randn(rows, 32, requires_grad=True), torch.randn(16, 32, requires_grad=True)
    bias = torch.randn(16, requires_grad=True) if with_bias else None
    checks = torch.library.opcheck(torch.ops.ardae_rl.onednn_linear.default, (x, weight, bias), rtol=1e-4, atol=1e-4)
    assert checks and set(checks.values()) == {"SUCCESS"}


@needs_onednn
def test_the_weights_gradient_keeps_what_it_promises_to_torch_compile() -> None:
    checks = torch.library.opcheck(torch.ops.ardae_rl.onednn_weight_gradient.default, (torch.randn(4096, 16), torch.randn(4096, 32)))
    assert checks and set(checks.values()) == {"SUCCESS"}
