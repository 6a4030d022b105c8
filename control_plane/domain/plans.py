"""What a plan means for how a tenant is housed: declared in the settings, and read here. Pure.

It is the least that a plan promises: who lives in something better is left there, unless somebody wants otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping

from control_plane.domain.tenant import Model, Plan

Houses = Mapping[Plan, Model]
"""How tenants on each plan are housed; about a plan that is not named nothing is said."""
DEFAULT: Houses = {Plan.STARTER: Model.POOL, Plan.PROFESSIONAL: Model.POOL, Plan.ENTERPRISE: Model.SILO}
_MODELS = (Model.POOL, Model.BRIDGE, Model.SILO)
"""The later, the more a tenant has for itself."""


def due(houses: Houses, plan: Plan, model: Model, *, down: bool = False) -> Model | None:
    """What a tenant on that plan, housed as `model`, is to be housed as; None when nothing else.

    Only with `down` may that be less than it has.
    """
    wanted = houses.get(plan, model)
    less = _MODELS.index(wanted) < _MODELS.index(model)
    return None if wanted is model or (less and not down) else wanted


def misplaced(houses: Houses, slug: str, plan: Plan, model: Model) -> str | None:
    """What is wrong, and the command that mends it, when a tenant has less than its plan promises."""
    wanted = due(houses, plan, model)
    if wanted is None:
        return None
    return f"{plan} means a {wanted}, and it lives in a {model}: copyhold tenant move {slug} --to {wanted}"
