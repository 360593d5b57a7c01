"""`python -m charts.generate` writes the chart's generated files; `--check` compares and fails on a drift."""

import argparse
import json
import sys
import tomllib
from pathlib import Path

from charts.generate import index, readme, schema, values
from charts.monitoring import dashboards, rules
from charts.monitoring.dashboards import table

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "torpor"
CRDS = ROOT / "crds"
RUNBOOKS = ROOT / "docs" / "operations" / "runbooks"


def wanted() -> dict[Path, str]:
    """Return what every generated file of the chart must contain."""
    read = values.read(CHART / "values.yaml")
    texts = {
        CHART / "values.schema.json": json.dumps(schema.build(read), indent=2) + "\n",
        CHART / "README.md": readme.insert((CHART / "README.md").read_text(), read),
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    chart = CHART / "Chart.yaml"
    texts[chart] = index.insert(chart.read_text(), read, project["version"])
    texts[CHART / "files" / rules.FILE] = rules.text()
    texts[RUNBOOKS / "README.md"] = rules.index()
    for crd in sorted(CRDS.glob("*.yaml")):
        texts[CHART / "files" / "crds" / crd.name] = crd.read_text()
    for name, text in dashboards.files().items():
        texts[CHART / "files" / "dashboards" / name] = text
    page = ROOT / "docs" / "operations" / "dashboards.md"
    texts[page] = table.insert(page.read_text(), dashboards.BOARDS)
    return texts


def main() -> int:
    """Write or compare. Returns the exit status: 1 when `--check` finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m charts.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file differs")
    check = parser.parse_args().check
    texts = wanted()
    made = (CHART / "files" / folder for folder in ("crds", "dashboards"))
    left_over = {path for folder in made for path in folder.glob("*")} - set(texts)
    different = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    for path in (*different, *left_over):
        print(f"{path.relative_to(ROOT)}: {'differs' if check else 'written'}", file=sys.stderr)  # noqa: T201
    if check:
        return 1 if different or left_over else 0
    for path in different:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts[path])
    for path in left_over:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
