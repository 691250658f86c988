"""The layers, read from the source: what import-linter checks, and what it cannot."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import airflow_provider_feast

ROOT = Path(airflow_provider_feast.__file__).parent
PACKAGE = "airflow_provider_feast"
MODULES = sorted(ROOT.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it, type checking included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def of_layer(*names: str) -> list[Path]:
    return [path for path in MODULES if path.relative_to(ROOT).parts[0] in names]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", of_layer("model"), ids=name)
def test_the_model_imports_the_standard_library_and_itself_only(path: Path) -> None:
    allowed = sys.stdlib_module_names | {PACKAGE}
    assert {module.split(".")[0] for module in imports(path)} <= allowed
    assert all(m.startswith(f"{PACKAGE}.model") or not m.startswith(f"{PACKAGE}.") for m in imports(path))


@pytest.mark.parametrize("path", [p for p in MODULES if p not in of_layer("sandbox")], ids=name)
def test_nobody_imports_the_sandbox(path: Path) -> None:
    assert not [module for module in imports(path) if module.startswith(f"{PACKAGE}.sandbox")]


@pytest.mark.parametrize("path", of_layer("runner"), ids=name)
def test_the_runner_knows_the_standard_library_feast_and_itself_only(path: Path) -> None:
    theirs = {"feast", "typeguard", "click", "yaml"}  # what an image with Feast has
    others = [module for module in imports(path) if not module.startswith(f"{PACKAGE}.runner.")]
    assert {module.split(".")[0] for module in others} <= sys.stdlib_module_names | theirs


@pytest.mark.parametrize("path", of_layer("operators", "sensors"), ids=name)
def test_the_dag_surface_never_names_kubernetes(path: Path) -> None:
    assert not [m for m in imports(path) if m.startswith(("kubernetes", "airflow.providers.cncf"))]


@pytest.mark.parametrize("path", [p for p in MODULES if p.stat().st_size], ids=name)
def test_a_module_says_in_its_first_line_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_importing_the_package_is_nearly_free() -> None:
    code = (
        f"import sys; before = set(sys.modules); import {PACKAGE}; print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"['{PACKAGE}']"
