"""What of `shb` is public: read from the table in its docstring, for the reference and for the tests of docstrings."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from types import ModuleType

import shb

HOOKS = ("forward", "backward")  # methods that torch calls: their class says what they take and give


def public_modules() -> list[str]:
    """Names of the modules in the table of `shb.__doc__`, in its order."""
    return re.findall(r"^\| `(shb[\w.]*)` \|", shb.__doc__, re.MULTILINE)


def public_names(module: ModuleType) -> list[str]:
    """`__all__`, or, without one, what the module defines with no leading underscore."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    names: list[str] = []
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
    return [name for name in names if not name.startswith("_")]


def public_objects() -> Iterator[tuple[str, object]]:
    """("module.name", function or class) of everything public, each once, under the module in which it is found first;
    the public methods and properties of a class follow it."""
    seen: set[int] = set()
    for module_name in public_modules():
        module = importlib.import_module(module_name)
        for name in public_names(module):
            one = getattr(module, name)
            if id(one) in seen or not (inspect.isclass(one) or inspect.isfunction(one)):
                continue
            if not one.__module__.startswith("shb"):  # another name of a class of numpy
                continue
            seen.add(id(one))
            yield f"{module_name}.{name}", one
            for method, value in vars(one).items() if inspect.isclass(one) else ():
                known = isinstance(value, property | classmethod | staticmethod) or inspect.isfunction(value)
                if known and not method.startswith("_") and method not in HOOKS:
                    yield f"{module_name}.{name}.{method}", getattr(one, method)


def defining_modules() -> list[str]:
    """The other modules of `shb` in which public objects are defined, update rules too: their text has the formulas."""
    from shb.optimizers import OPTIMIZERS

    found = {getattr(one, "__module__", None) or "" for _, one in public_objects()}
    found |= {rule.update.__module__ for rule in OPTIMIZERS.values()}
    return sorted(name for name in found - {*public_modules()} if name.startswith("shb."))
