"""Which plan a command line means, found without composing it where that is possible."""

from __future__ import annotations

from collections.abc import Sequence

from bench.plan.plan import SuitePlan, changes_of, suite_hash
from bench.plan.stored import stored_plan
from bench.store.environment import CONF
from bench.store.store import Store
from bench.store.yaml_file import read_yaml


def planned_for(store: Store, suite: str, overrides: Sequence[str]) -> SuitePlan | None:
    """The stored plan of the suite with these overrides, under the engine and on the device that they name, if any."""
    given = dict(one.split("=", 1) for one in overrides if "=" in one)
    asked = {name: given[name] for name in ("engine", "device") if given.get(name, "auto") != "auto"}
    return stored_plan(store, suite, changes_of(overrides), **asked)


def age_of(plan: SuitePlan) -> str:
    """A line for a plan that is not that of the suite's file as it is now; "" if it is, or if there is no file."""
    path = CONF / "suite" / f"{plan.suite}.yaml"
    raw = read_yaml(path) if path.is_file() else None
    if raw is None or suite_hash(raw) == plan.content:
        return ""
    return (
        f"this is suite {plan.title} as it was run; conf/suite/{plan.suite}.yaml has changed since "
        f"(v{raw['version']}), and bench.run plans it anew"
    )
