"""Every public name of shb says what it is: a module, class or function of its own, a method also by the base class."""

import doctest
import importlib
import inspect
import pkgutil
import sys

import pytest

import shb
from shb.optimizers import OPTIMIZERS

MODULES = ["shb", *(module.name for module in pkgutil.walk_packages(shb.__path__, "shb."))]


def public_names(module):
    """(name, object) of the public functions and classes that a module defines, and of the methods of the latter."""
    for name, one in vars(module).items():
        if name.startswith("_") or getattr(one, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(one) or inspect.isfunction(one):
            yield name, one
        if inspect.isclass(one):
            for method, value in vars(one).items():
                if not method.startswith("_") and isinstance(
                    value, property | classmethod | staticmethod | type(inspect.isclass)
                ):
                    yield f"{name}.{method}", getattr(one, method)


@pytest.mark.parametrize("name", MODULES)
def test_a_public_name_has_a_docstring(name):
    module = importlib.import_module(name)
    assert module.__doc__, name
    assert [one for one, value in public_names(module) if not inspect.getdoc(value)] == []


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("rule", OPTIMIZERS.values(), ids=lambda rule: rule.name)
def test_every_update_rule_has_an_example(rule):
    module = sys.modules[rule.update.__module__]
    assert f'get_optimizer("{rule.name}")' in module.__doc__
    assert doctest.testmod(module).attempted >= 2


def test_public_names_are_found():
    found = dict(public_names(importlib.import_module("shb.training.stack")))
    assert {"Stack", "Stack.run", "Stack.width", "minimal_width"} <= found.keys()
