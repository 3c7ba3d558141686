"""Every name of shb says what it is; a public one also its parameters, its shapes, what it raises, and what it shows.

What is public is read from the docstring of shb (docs/site/public_api.py). These checks are mechanical: they find what
is left out, not what is wrong.
"""

import ast
import dataclasses
import doctest
import functools
import importlib
import inspect
import pkgutil
import re
import sys
import textwrap
from pathlib import Path

import pytest

import shb
from shb.errors import choose
from shb.optimizers import OPTIMIZERS

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT / "docs" / "site"))
from public_api import public_modules, public_names, public_objects  # noqa: E402

MODULES = ["shb", *(module.name for module in pkgutil.walk_packages(shb.__path__, "shb."))]
PUBLIC = dict(public_objects())
# with a text of their own: what inherits it has the contract of the base
CALLABLE = {n: one for n, one in PUBLIC.items() if callable(one) and one.__doc__}
SILENT = {  # errors that functions called here may raise, and cannot here
    "shb.kernels.built": {"CompilationError"},  # False
    "shb.nonsmooth.PiecewiseField.minimal": {"ConfigurationError"},  # its ends are in order
    "shb.problems.MaxAffinePlane.stationarity": {"ConfigurationError"},  # a piece is maximal everywhere
    "shb.problems.closed_forms.closed_form.Signs.sign_bits_of": {"ValueError"},  # two blocks: None
}


def own_names(module):
    """(name, object) of the functions and classes that a module defines, and of the methods of the latter."""
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
def test_a_name_has_a_docstring(name):
    module = importlib.import_module(name)
    assert module.__doc__, name
    summaries = {one: (inspect.getdoc(value) or "").partition("\n")[0] for one, value in own_names(module)}
    assert [one for one, summary in summaries.items() if not re.search(r"\w.*[^:]$", summary)] == []


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("rule", OPTIMIZERS.values(), ids=lambda rule: rule.name)
def test_every_update_rule_has_an_example(rule):
    module = sys.modules[rule.update.__module__]
    assert f'get_optimizer("{rule.name}")' in module.__doc__
    assert doctest.testmod(module).attempted >= 2


def test_names_are_found():
    found = dict(own_names(importlib.import_module("shb.training.stack")))
    assert {"Stack", "Stack.run", "Stack.width", "minimal_width"} <= found.keys()


# -- what is public -------------------------------------------------------------------------------------------


def test_public_names_are_found():
    assert {"shb.optimizers.get_optimizer", "shb.streams.words", "shb.training.Stack.run", "shb.SHB"} <= PUBLIC.keys()
    assert "shb.optimizers.SHB" not in PUBLIC  # each once
    assert len(PUBLIC) > 250


@pytest.mark.parametrize("name", public_modules())
def test_a_public_module_has_the_names_that_it_says(name):
    module = importlib.import_module(name)
    names = public_names(module)
    assert names and all(hasattr(module, one) for one in names)


@pytest.mark.parametrize("path", ["docs/examples/plugin.py", "README.md", "docs/extend.md", "examples"])
def test_documents_import_public_names_only(path):
    files = sorted((ROOT / path).glob("*.py")) if (ROOT / path).is_dir() else [ROOT / path]
    for text in (file.read_text() for file in files):
        for module, names in re.findall(r"^from (shb[\w.]*) import (.*)$", text, re.MULTILINE):
            assert module in public_modules(), module
            assert {*names.split(", ")} <= {*public_names(importlib.import_module(module))}, (module, names)


def section(docstring, title):
    """Lines of a section, without their indentation."""
    found = re.search(rf"^{title}:\n((?:[ \t]+.*\n?|\n)+)", docstring, re.MULTILINE)
    return textwrap.dedent(found[1]) if found else ""


def entries(text):
    """Names of a section of names: those before the colon of a line that is not indented."""
    lines = re.findall(r"^(\*{0,2}\w[\w*, ]*):", text, re.MULTILINE)
    return [name.strip("* ") for line in lines for name in line.split(",")]


def explained(docstring):
    """Names that a docstring has as an entry of Args or Attributes, or in backquotes."""
    names = set()
    for title in ("Args", "Attributes"):
        names |= {*entries(section(docstring, title))}
    for code in re.findall(r"`+([^`]+)`+", docstring):
        names |= set(re.findall(r"\w+", code))
    return names


def parameters(one):
    """Names that a caller gives, to a function or to make one of a class."""
    return [name for name in inspect.signature(one).parameters if name not in ("self", "cls")]


def maker(one):
    """The class whose parameters and errors a class has where it is made; None where nobody makes it."""
    if getattr(one, "_is_protocol", False):
        return None
    if dataclasses.is_dataclass(one) or hasattr(one, "_fields"):
        return one
    return next(base for base in one.__mro__ if "__init__" in vars(base))


def made_as_its_base(one):
    """Whether a class is made as a public base says, or as one of torch or Python."""
    if not inspect.isclass(one):
        return False
    base = maker(one)
    return base is None or (base is not one and (base in PUBLIC.values() or not base.__module__.startswith("shb")))


def test_every_parameter_is_explained():
    missing = {}
    for name, one in CALLABLE.items():
        given = [] if made_as_its_base(one) else parameters(one)
        if len(given) >= 2:
            missing[name] = [p for p in given if p not in explained(inspect.getdoc(one))]
    assert {name: names for name, names in missing.items() if names} == {}


def test_no_parameter_is_explained_that_is_not_there():
    wrong = {}
    for name, one in CALLABLE.items():
        text = section(inspect.getdoc(one), "Args")
        if text:
            names = entries(text)
            wrong[name] = [n for n in names if n not in parameters(one)] or not names
    assert len(wrong) > 80 and not any(wrong.values()), {name: names for name, names in wrong.items() if names}


@functools.cache
def tree(function):
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError):
        return None


@functools.cache
def raised(function):
    """Names of our errors that a function raises itself, or that functions of shb which it calls by name raise."""
    found = set()
    if function is choose:
        return frozenset({"ConfigurationError"})
    code = inspect.unwrap(function)
    for node in ast.walk(tree(code)) if tree(code) else ():
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            found.add(node.exc.func.id)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called = getattr(code, "__globals__", {}).get(node.func.id)
            if inspect.isfunction(called) and called.__module__.startswith("shb") and called is not code:
                found |= raised(called)
    return frozenset(found & {"ConfigurationError", "CompilationError", "CheckpointError", "Unsupported", "ValueError"})


def errors(one):
    if inspect.isclass(one):
        made = [] if made_as_its_base(one) else [vars(maker(one)).get(name) for name in ("__init__", "__post_init__")]
        return frozenset().union(*(raised(f) for f in made if inspect.isfunction(f)))
    return raised(one) if inspect.isfunction(inspect.unwrap(one)) else frozenset()


def test_what_is_raised_is_said():
    found = {name: errors(one) for name, one in CALLABLE.items()}
    assert sum(map(bool, found.values())) > 70 and all(found[name] == silent for name, silent in SILENT.items())
    unsaid = {}
    for name, one in CALLABLE.items():
        said = entries(section(inspect.getdoc(one), "Raises"))
        unsaid[name] = found[name] - {*said, *SILENT.get(name, ())}
    assert {name: names for name, names in unsaid.items() if names} == {}


def test_what_takes_or_gives_arrays_says_their_shapes():
    silent = {}
    for name, one in CALLABLE.items():
        if inspect.isclass(one):
            continue
        written = " ".join(map(str, getattr(inspect.unwrap(one), "__annotations__", {}).values()))
        if re.search(r"\b(Tensor|ndarray|Array|ArrayLike|NDArray)\b", written):
            silent[name] = not re.search(r"\[|\bshape|\bscalar|elementwise|like ", inspect.getdoc(one))
    assert len(silent) > 80 and [name for name, none in silent.items() if none] == []
