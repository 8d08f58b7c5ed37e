"""A compiled function that is copied, pickled, told how to compile, and run out of memory."""

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from ardae_rl.score import ARDAE
from ardae_rl.score.compiled import CompiledFunction


def squares(x: Tensor) -> Tensor:
    return x.square().sum()


def out_of_memory(x: Tensor) -> Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory")


def wrong(x: Tensor) -> Tensor:
    raise ValueError("not this one")


class Compiler:
    """In the place of ``torch.compile``: what it was asked, and a compiled function that does as it is told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.error = error

    def __call__(self, function: Any, *args: Any, **options: Any) -> Any:
        self.calls.append((args, options))

        def compiled(*arguments: Any) -> Any:
            if self.error is not None:
                raise self.error
            return function(*arguments)

        return compiled


def with_compiler(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> Compiler:
    compiler = Compiler(error)
    monkeypatch.setattr(torch, "compile", compiler)
    return compiler


def test_options_of_compile_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = with_compiler(monkeypatch)
    estimator = ARDAE(2, width=8)
    estimator.compile(mode="reduce-overhead", dynamic=False)
    for _ in range(3):
        estimator.loss(torch.randn(20, 2)).backward()
    assert compiler.calls == [((), {"mode": "reduce-overhead", "dynamic": False})]


@pytest.mark.parametrize("trained", [False, True])
def test_a_compiled_estimator_is_pickled_copied_and_saved(trained: bool) -> None:
    """With the real compiler: what it makes cannot be pickled, and is made anew where it is wanted."""
    estimator, x = ARDAE(2, width=8, layers=1), torch.randn(20, 2)
    estimator.compile(backend="eager")
    if trained:
        estimator.loss(x).backward()
    file = io.BytesIO()
    torch.save(estimator, file)
    file.seek(0)
    for other in (pickle.loads(pickle.dumps(estimator)), copy.deepcopy(estimator), torch.load(file, weights_only=False)):
        normal = lambda *shape: torch.ones(shape)  # noqa: E731
        assert torch.equal(other.eval().loss(x, normal=normal), estimator.eval().loss(x, normal=normal))
        assert isinstance(other._loss, CompiledFunction) and other._loss.options == {"backend": "eager"}


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("[enforce fail] can't allocate memory: you tried")]
)
def test_memory_running_out_is_no_failure_to_compile(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with_compiler(monkeypatch, error)
    function = CompiledFunction(squares)
    with pytest.raises(type(error)):
        function(torch.ones(3))
    assert not function.eager and not caplog.messages


def test_where_only_compiling_fails_it_goes_on_without_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compiler = with_compiler(monkeypatch, RuntimeError("no C++ compiler"))
    function = CompiledFunction(squares)
    assert [float(function(torch.ones(3))) for _ in range(3)] == [3.0] * 3
    assert caplog.messages == ["torch.compile does not work here (RuntimeError: no C++ compiler); going on without it."]
    assert len(compiler.calls) == 1 and pickle.loads(pickle.dumps(function)).eager


def test_an_error_of_the_function_itself_is_raised_as_it_is(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with_compiler(monkeypatch)
    function = CompiledFunction(wrong)
    with pytest.raises(ValueError, match="not this one"):
        function(torch.ones(3))
    assert not function.eager and not caplog.messages
