"""Python: a block compiles and what it imports is there. What it prints is compared in texts.py."""

import ast
import importlib


def check(text: str) -> None:
    """Check a program without running it. ImportError or AttributeError name what is not there."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                getattr(module, alias.name)
