"""Make one file of the runner's modules: what the ConfigMap holds and the container runs."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from importlib import resources

PACKAGE = "airflow_provider_feast.runner"

MODULES = (
    "basics",
    "configuration",
    "patching",
    "secrecy",
    "output",
    "intervals",
    "guarding",
    "report",
    "stopping",
    "reasons",
    "progress",
    "registry_files",
    "watching",
    "deletions",
    "gaps",
    "commands",
    "planning",
    "inspecting",
    "materializing",
    "repairing",
    "copying",
    "git_access",
    "feast_runner",
)
"""The modules in the order of their imports; the last one is the entry point."""


def assembled() -> str:
    """The runner's text: its modules, one after another."""
    folder = resources.files(PACKAGE)
    return assemble([(name, folder.joinpath(f"{name}.py").read_text(encoding="utf-8")) for name in MODULES])


def assemble(sources: Sequence[tuple[str, str]]) -> str:
    """One module out of several.

    Imports between the modules are dropped, for all their names are in one file then.

    :param sources: names and texts; the last text's docstring becomes the file's.
    :raises ValueError: when two modules define the same name, or one renames what it imports from another.
    """
    owners: dict[str, str] = {}
    parts = []
    for name, text in sources:
        tree = ast.parse(text)
        for defined in _defined(tree):
            if owners.setdefault(defined, name) != name:
                raise ValueError(f"{defined} is defined in {owners[defined]} and in {name}")
        parts.append((name, _without(text, _dropped(tree))))
    document = ast.get_docstring(ast.parse(sources[-1][1]), clean=False)
    head = f'"""{document}"""\n\nfrom __future__ import annotations\n'
    return head + "".join(f"\n# --- {name} ---\n\n{text.strip()}\n" for name, text in parts)


def _defined(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                found |= {leaf.id for leaf in ast.walk(target) if isinstance(leaf, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


def _dropped(tree: ast.Module) -> set[int]:
    """Lines that one file has no use for: docstring, future import, imports between the modules."""
    lines: set[int] = set()
    for position, node in enumerate(tree.body):
        document = position == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        between = isinstance(node, ast.ImportFrom) and (node.module or "").startswith((PACKAGE, "__future__"))
        if between and any(name.asname for name in node.names):  # type: ignore[attr-defined]
            raise ValueError(f"line {node.lineno} renames what it imports")
        if document or between:
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def _without(text: str, lines: set[int]) -> str:
    return "\n".join(line for number, line in enumerate(text.split("\n"), 1) if number not in lines)
