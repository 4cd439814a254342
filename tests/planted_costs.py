"""Mechanisms that are right but for what they say of their costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from tests.planting import Bell, Changes, Planted, Rectified
from verify.attention.contract import Form, Member
from verify.attention.cost import Cost
from verify.families import FeatureKernel
from verify.problem import Problem

NOT_A_COUNT: Any = float("nan")
ENDLESS: Any = float("inf")


def costing(name: str) -> Callable[[Form], Changes]:
    """Let the cost of a form say one more of something."""

    def cost(form: Form, problem: Problem, member: Member) -> Cost:
        found = form.cost(problem, member)
        return replace(found, **{name: getattr(found, name) + 1})

    return lambda form: {"cost": partial(cost, form)}


def costs(cost: Callable[[Problem], Cost], **also: Any) -> Callable[[Form], Changes]:
    """Let a form cost something else."""
    return lambda form: {"cost": lambda problem, member: cost(problem), **also}


def more_operations(form: Form) -> Changes:
    def operations(problem: Problem, member: Member) -> Any:
        assert form.operations is not None
        found = form.operations(problem, member)
        return replace(found, additions=found.additions + 1)

    return {"operations": operations}


def wide(form: Form) -> Changes:
    """Let the cost of a form forget values that are larger than keys."""

    def cost(problem: Problem, member: Member) -> Cost:
        found = form.cost(problem, member)
        return replace(found, state_elements=found.state_elements - max(0, problem.value_size - problem.head_size))

    return {"cost": cost}


def doubled_counts(mechanism: FeatureKernel, head_size: int, value_size: int | None, member: Member) -> Any:
    found = FeatureKernel.counts(mechanism, head_size, value_size, member)
    return replace(found, features=2 * found.features)


def counts_of_given_values(mechanism: FeatureKernel, head_size: int, value_size: Any, member: Member) -> Any:
    return FeatureKernel.counts(mechanism, head_size, value_size + 0, member)


COSTS: dict[str, Planted] = {
    "a cost off by one": Planted(
        Rectified, "costs", "state elements, and the state holds", form=costing("state_elements")
    ),
    "features off by one": Planted(Rectified, "costs", "features, and the state has", form=costing("features")),
    "FLOPs off by one": Planted(Rectified, "costs", "FLOPs per token, and operations", form=costing("flops_per_token")),
    "a cache that does not grow": Planted(
        Bell,
        "costs",
        "state_elements 99 and 99 for 512 and 1024 tokens; expected more",
        form=costs(lambda problem: Cost(None, 99, None)),
    ),
    "a cache of NaN": Planted(
        Bell, "costs", "state_elements nan of float", form=costs(lambda problem: Cost(None, NOT_A_COUNT, None))
    ),
    "features that grow with the tokens": Planted(
        Bell,
        "costs",
        "features 512 and 1024 for .*; expected the same",
        form=costs(lambda problem: Cost(problem.keys, 3 * problem.keys, None)),
    ),
    "FLOPs that no run takes": Planted(
        Bell,
        "costs",
        "the cost says 12 FLOPs per token, and a run takes",
        form=costs(lambda problem: Cost(None, 4 * problem.keys, 4 * problem.keys)),
    ),
    "FLOPs that are negative beyond some size": Planted(
        Bell,
        "costs",
        "flops_per_token -512 of int",
        form=costs(
            lambda problem: Cost(None, 9 * problem.keys, -problem.keys if problem.keys > 99 else 5), published=True
        ),
    ),
    "published FLOPs that are none": Planted(
        Bell,
        "costs",
        "flops_per_token 0 of int; expected a Python integer above 0",
        form=costs(lambda problem: Cost(None, 4 * problem.keys, 0), published=True),
    ),
    "published FLOPs that are NaN": Planted(
        Bell,
        "costs",
        "flops_per_token nan of float",
        form=costs(lambda problem: Cost(None, 4 * problem.keys, NOT_A_COUNT), published=True),
    ),
    "published FLOPs that are infinite": Planted(
        Bell,
        "costs",
        "flops_per_token inf of float",
        form=costs(lambda problem: Cost(None, 4 * problem.keys, ENDLESS), published=True),
    ),
    "published FLOPs that do not grow": Planted(
        Bell,
        "costs",
        "flops_per_token 7 and 7 for 512 and 1024 tokens; expected more",
        form=costs(lambda problem: Cost(None, 4 * problem.keys, 7), published=True),
    ),
    "operations off by one": Planted(Rectified, "costs", "says .*, and a run takes", form=more_operations),
    "state elements off where values are larger than keys": Planted(
        Rectified, "costs", "3, 2, 5: the cost says 15 state elements, and the state holds 18", form=wide
    ),
    "tables that ask for the size of values": Planted(
        Rectified, "costs", "at d_k, d_v = 2, 2: TypeError", {"counts": counts_of_given_values}
    ),
    "features in tables that are twice as many": Planted(
        Rectified,
        "costs",
        r"counts\(\) says 6 features.*; no form costs that: stream 3, 9 and",
        {"counts": doubled_counts},
    ),
}
