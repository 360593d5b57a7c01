"""`python -m charts.generate` writes the chart's generated files; `--check` compares and fails on a drift."""

import json
import sys
import tomllib
from pathlib import Path

from torpor import generated

from charts.generate import index, readme, schema, values
from charts.monitoring import dashboards, rules
from charts.monitoring.dashboards import table

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "torpor"
CRDS = ROOT / "crds"
RUNBOOKS = ROOT / "docs" / "operations" / "runbooks"
COMMAND = "python -m charts.generate"


def wanted() -> dict[Path, str]:
    """Return what every generated file of the chart must contain."""
    read = values.read(CHART / "values.yaml")
    texts = {
        CHART / "values.schema.json": json.dumps(schema.build(read), indent=2) + "\n",
        CHART / "README.md": readme.insert((CHART / "README.md").read_text(), read),
    }
    texts[ROOT / "docs" / "reference" / "chart-values.md"] = readme.page(read)
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
    check = generated.parser(COMMAND, __doc__).parse_args().check
    texts = wanted()
    made = (CHART / "files" / folder for folder in ("crds", "dashboards"))
    left_over = {path for folder in made for path in folder.glob("*")} - set(texts)
    return generated.settle(texts, COMMAND, check=check, left_over=left_over)


if __name__ == "__main__":
    sys.exit(main())
