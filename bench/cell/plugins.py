"""Plug-ins: own optimizers, models, data sets, losses, schedules and closed forms in a file outside this repository.

python -m bench.run plugins=[path/to/mine.py] optimizer=mine optimizer.lr=0.1

A plug-in is a Python file, or the name of an installed entry point of the group "shb_bench", whose module is one. What
it offers is in its tables (bench/cell/plugin_tables.py). The identity of a member that uses something of it contains
the SHA-256 of its source; hence it is one file: what it imports of its own folder or package is refused.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.cell.added import plugin_list, source_of
from bench.cell.plugin_tables import PluginError, enter, read_tables
from shb.errors import ConfigurationError

GROUP = "shb_bench"  # of entry points
_loaded: dict[str, str] = {}  # path -> SHA-256 of the source that was loaded from it


class PluginMissing(RuntimeError):
    """A stored member needs a plug-in that was not given: that says nothing against the member."""


def use_plugins(overrides: Sequence[str]) -> None:
    """Load what `plugins=` of a command line names; nothing without it. Every process of a command does this."""
    for override in overrides:
        name, _, text = override.partition("=")
        if name == "plugins":
            load_plugins(plugin_list(text))


def load_plugins(plugins: Sequence[str]) -> None:
    """Load files (or entry points) once per process.

    Raises:
        ConfigurationError: in one line, for whatever is wrong with one of them; it has then added nothing.
    """
    for plugin in plugins:
        _load(plugin)


def plugin_record(names: Mapping[str, str | None]) -> dict[str, dict[str, str]]:
    """{"plugins": group -> SHA-256} for a member of these entries (group -> name); {} if all are of this project."""
    used = {group: sha256 for group, name in names.items() if name and (sha256 := source_of(group, name))}
    return {"plugins": used} if used else {}


def check_record(record: Mapping[str, str], names: Mapping[str, str | None]) -> None:
    """Raise PluginMissing unless every plug-in of a stored `record` is loaded, with that very content."""
    for group, sha256 in record.items():
        here = source_of(group, names[group] or "")
        if here != sha256:
            found = f"the one given has {here}" if here else "none was given"
            raise PluginMissing(
                f"{group}={names[group]} is of a plug-in whose file has sha256 {sha256}; {found} (plugins=[file.py])"
            )


def _load(plugin: str) -> None:
    path = _file(plugin)
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ConfigurationError("plugins", plugin, f"a Python file ({error.strerror})") from None
    sha256 = hashlib.sha256(source).hexdigest()
    known = _loaded.get(str(path))
    if known == sha256 or sha256 in _loaded.values():
        return
    if known:
        raise ConfigurationError("plugins", plugin, "a file that has not changed since this process loaded it")
    try:
        module = _executed(path, source, sha256)
        offers = read_tables(vars(module))
    except PluginError as error:
        raise ConfigurationError("plugins", plugin, f"a file with {error}") from None
    except (Exception, SystemExit) as error:
        said = error.msg if isinstance(error, SyntaxError) else error  # which else names the place again
        text = " ".join(f"{type(error).__name__}: {said}".split())[:300]
        raise ConfigurationError(
            "plugins", plugin, f"a file that can be used ({_place(path, error)}: {text})"
        ) from None
    _check_imports(plugin, path, source)
    enter(offers, sha256)
    _loaded[str(path)] = sha256


def _file(plugin: str) -> Path:
    path = Path(plugin).expanduser()
    if path.suffix == ".py" or path.exists() or "/" in plugin:
        if path.suffix != ".py" or not path.is_file():
            what = "there is no such file" if not path.exists() else "it is a folder" if path.is_dir() else "it is none"
            raise ConfigurationError("plugins", plugin, f"a Python file NAME.py ({what})")
        return path.resolve()
    points = {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}
    if plugin not in points:
        installed = ", ".join(sorted(points)) or "none"
        raise ConfigurationError("plugins", plugin, f"a file NAME.py or an entry point of {GROUP} (here: {installed})")
    try:
        found = importlib.util.find_spec(points[plugin].module)
    except Exception as error:  # of the package around the module
        raise ConfigurationError("plugins", plugin, f"an entry point that can be imported ({error})") from None
    if found is None or not found.origin or not found.origin.endswith(".py"):
        raise ConfigurationError("plugins", plugin, f"an entry point with a source file ({points[plugin].value})")
    return Path(found.origin).resolve()


def _executed(path: Path, source: bytes, sha256: str) -> ModuleType:
    """The module of exactly these bytes, which may no longer be those of the file."""
    name = f"shb_plugin_{sha256[:16]}"
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        exec(compile(source, str(path), "exec"), vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _place(path: Path, error: BaseException) -> str:
    """File and line at which an error left the plug-in."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == str(path) else (lines or [None])[-1]
    return path.name if line is None else f"{path.name}, line {line}"


def _check_imports(plugin: str, path: Path, source: bytes) -> None:
    """Refuse what the file imports but its hash does not cover: other files that are neither installed nor of here."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            base = node.module or ""
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        for name in names:
            file = getattr(sys.modules.get(name), "__file__", None)
            if file and not _is_fixed(Path(file).resolve(), path):
                allowed = f"one file: {name} (line {node.lineno}) is another, which the identity of members would miss"
                raise ConfigurationError("plugins", plugin, allowed)


def _is_fixed(file: Path, plugin: Path) -> bool:
    """Whether a module is part of Python, of an installed package or of this project, and not a neighbour."""
    if file.parent == plugin.parent:
        return False
    here = Path(__file__).resolve().parents[2]
    roots = [Path(sysconfig.get_path(key)).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    return any(file.is_relative_to(root) for root in (*roots, here / "shb", here / "bench"))


def names_of(spec: Mapping[str, Any]) -> dict[str, str | None]:
    """Group -> entry of what a plug-in may offer, of a member's spec."""
    problem = spec["problem"]
    return {
        "optimizer": spec["optimizer"],
        "model": problem["model"]["name"] if "model" in problem else None,
        "dataset": problem.get("dataset"),
        "problem": problem["name"],
        "loss": problem.get("loss"),
        "schedule": spec["schedule"],
    }
