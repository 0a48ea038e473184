"""docs/architecture.md names every module of the package."""

import re

import csrd
from tests.conftest import REPOSITORY


def test_every_module_is_named_in_its_package():
    text = (REPOSITORY / "docs" / "architecture.md").read_text().split("## Packages")[1].split("\n## ")[0]
    root = REPOSITORY / "csrd"
    assert root.samefile(csrd.__path__[0])
    sections = {"": text.split("**`io/`**")[0]}
    for match in re.finditer(r"\*\*`(\w+)/`\*\*(.*?)(?=\*\*`\w+/`\*\*|\Z)", text, flags=re.DOTALL):
        sections[match[1]] = match[2]
    modules = [path.relative_to(root) for path in root.rglob("*.py") if path.name != "__init__.py"]
    missing = [
        str(path)
        for path in modules
        if f"`{path.name}`" not in sections.get(path.parts[0] if len(path.parts) > 1 else "", "")
    ]
    assert len(modules) > 100 and not missing
    named = {
        f"{package}/{name}" for package in sections for name in re.findall(r"`(\w+\.py)`", sections[package])
    }
    there = {f"{path.parts[0] if len(path.parts) > 1 else ''}/{path.name}" for path in modules}
    assert named <= there, "a module that is no more"
