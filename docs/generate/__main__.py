"""`python -m docs.generate` writes the generated pages of the reference; `--check` compares."""

import sys
from pathlib import Path

from torpor import generated

from docs.generate import conditions, crd, metrics, settings

REFERENCE = Path(__file__).resolve().parents[1] / "reference"


def wanted() -> dict[Path, str]:
    """Return what every generated page must contain."""
    said, series = REFERENCE / "conditions.md", REFERENCE / "metrics.md"
    return {
        said: conditions.insert(said.read_text(encoding="utf-8")),
        REFERENCE / "crd.md": crd.page(),
        REFERENCE / "settings.md": settings.page(),
        series: metrics.insert(series.read_text(encoding="utf-8")),
    }


def main() -> int:
    """Write or compare. Returns the exit status: 1 when `--check` finds a difference."""
    return generated.main("python -m docs.generate", __doc__, wanted)


if __name__ == "__main__":
    sys.exit(main())
