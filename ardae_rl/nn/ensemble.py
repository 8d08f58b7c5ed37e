"""Many small networks of one architecture trained at once: their parameters stacked along a leading ensemble dimension.

Repeats of a small experiment leave a processor idle between operations; stacked, E repeats are one with E times larger operations.
Notation: E members, each with parameters of its own; every argument and result carries the ensemble dimension first.
Identity: f mapped over members is [f(member_1, x_1), ..., f(member_E, x_E)]; and since optimisers such as Adam act on every number by
itself, a step on the stacked parameters under the *sum* of the members' losses is E separate steps.
Not here: what the members are. Any ``nn.Module`` whose state is its parameters: score estimators, samplers, flows.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

Member = TypeVar("Member", bound=nn.Module)


class Ensemble(nn.Module, Generic[Member]):
    """``members`` of one architecture as one module; they are copied, and no longer used.

    ``parameters()`` and ``state_dict()`` are those of a member, each tensor with E in front. Buffers are shared, not stacked: constants
    such as masks, the same in every member. Raises ValueError for members that differ in more than the values of their parameters.

    >>> members = [nn.Linear(3, 2) for _ in range(5)]
    >>> ensemble = Ensemble(members)
    >>> ensemble.map(lambda member, x: member(x), torch.randn(5, 7, 3)).shape
    torch.Size([5, 7, 2])
    """

    def __init__(self, members: Sequence[Member]) -> None:
        super().__init__()
        _check_alike(members)
        self.size = len(members)
        self.stacked = copy.deepcopy(members[0])
        parameters, _ = stack_module_state(list(members))
        for name, value in parameters.items():
            owner, _, attribute = name.rpartition(".")
            setattr(self.stacked.get_submodule(owner), attribute, nn.Parameter(value.detach()))

    def map(self, function: Callable[..., Any], *stacked: Tensor) -> Any:
        """``function(member, *arguments)`` of every member: tensors, or tuples or dictionaries of tensors, stacked in the same way.

        ``stacked`` arguments and results have E in front; inside ``function`` there is one member and nothing is stacked. It must neither
        look at the values of tensors (no ``if loss > 0``: ``losses`` of a score estimator does not, ``loss`` does) nor call autograd, as
        implicit score matching does. What it draws at random differs between members.
        """
        parameters: dict[str, Tensor] = {f"member.{name}": value for name, value in self.stacked.named_parameters()}

        def of_one(own: dict[str, Tensor], *arguments: Tensor) -> Any:
            return functional_call(_Applied(self.stacked), own, (function, *arguments))

        return torch.vmap(of_one, randomness="different")(parameters, *stacked)


class _Applied(nn.Module):
    """A module whose call is any function of the module inside: what ``functional_call`` needs to reach more than ``forward``."""

    def __init__(self, member: nn.Module) -> None:
        super().__init__()
        self.member = member

    def forward(self, function: Callable[..., Any], *arguments: Tensor) -> Any:
        return function(self.member, *arguments)


def _check_alike(members: Sequence[nn.Module]) -> None:
    if not members:
        raise ValueError("members must be one or more modules, got none.")
    for number, member in enumerate(members[1:], start=1):
        if _shapes(member) != _shapes(members[0]):
            raise ValueError(f"members must have the same parameters, but those of number {number} and number 0 differ in name or shape.")
        for (name, buffer), (_, first) in zip(member.named_buffers(), members[0].named_buffers(), strict=True):
            if not torch.equal(buffer, first):
                raise ValueError(
                    f"members share their buffers, but {name!r} of number {number} and number 0 differ: make it a parameter, or one value."
                )


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in (*module.named_parameters(), *module.named_buffers())}
