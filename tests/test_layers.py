"""Imports point one way, app -> launcher -> medical_team, and the light packages stay light."""

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
HEAVY = ("torch", "ray", "vllm", "deepspeed", "openrlhf", "transformers", "gradio")
FORBIDDEN = {"medical_team": ("launcher", "app"), "launcher": ("app",)}
ENGINE_ONLY = ("medical_team.openrlhf_agent",)


def sources(package: str) -> list[Path]:
    return sorted((PROJECT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_layer_imports_one_above_it(package):
    above = {(path.name, name) for path in sources(package) for name in imported(path)
             if name.split(".")[0] in FORBIDDEN[package]}  # fmt: skip
    assert not above


def test_only_the_agent_imports_the_trainer():
    importers = {path.name for path in sources("medical_team") if any(n.startswith("openrlhf") for n in imported(path))}
    assert importers == {"openrlhf_agent.py"}


def test_only_the_store_knows_sql():
    keywords = ("SELECT ", "INSERT ", "UPDATE ", "DELETE FROM")
    found = {path.name for path in sources("launcher") + sources("medical_team")
             if any(keyword in path.read_text(encoding="utf-8") for keyword in keywords)}  # fmt: skip
    assert all(name.startswith("store") or name == "migrations.py" for name in found)


@pytest.mark.parametrize("package", ["medical_team", "launcher"])
def test_importing_a_light_package_loads_nothing_heavy(package):
    folder = PROJECT / package
    names = [module.name for module in pkgutil.walk_packages([str(folder)], f"{package}.")]
    names = [name for name in names if name not in ENGINE_ONLY and "shim" not in name and "stub" not in name
             and not name.endswith("__main__")]  # fmt: skip
    assert len(names) > 5
    code = f"import sys, importlib\nfor name in {names}: importlib.import_module(name)\n"
    code += f"print([name for name in {HEAVY} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert answer.stdout.strip() == "[]", answer.stderr
