"""The figures as a picture; the only file that needs matplotlib."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from tests.attribution.bench.report import Report

mpl.use("Agg")
from matplotlib import pyplot as plt  # the backend without a screen is chosen first


def save_chart(report: Report, path: Path) -> None:
    """Scores by data set and method, and what each attack earns."""
    scores = [row for title, rows in report.tables.items() if title.startswith("Linear") for row in rows]
    attacks = {title: rows for title, rows in report.tables.items() if title.startswith("Attacks on ")}
    figure, axes = plt.subplots(1, 1 + max(1, len(attacks)), figsize=(7 + 5 * max(1, len(attacks)), 6), squeeze=False)
    axes[0][0].set_visible(bool(scores))
    if scores:
        _draw_scores(axes[0][0], scores)
    for axis, (title, rows) in zip(axes[0][1:], attacks.items(), strict=False):
        names = [row["attack"] for row in rows]
        axis.barh(names, [row["per record"] for row in rows], color="tab:red")
        axis.axvline(1, color="gray", linewidth=1)
        axis.invert_yaxis()
        axis.set_title(title.split(",")[0], fontsize=9)
        axis.set_xlabel("earned per record, honest = 1")
        axis.tick_params(labelsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _draw_scores(axis: Any, rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(row["data"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    width = 0.8 / len(methods)
    for place, method in enumerate(methods):
        found = {row["data"]: row for row in rows if row["method"] == method}
        at = [names.index(name) + place * width - 0.4 for name in found]
        heights = [row["LDS"] for row in found.values()]
        axis.bar(np.array(at), heights, width, yerr=[row["± error"] for row in found.values()], label=method)
    axis.set_xticks(range(len(names)), names)
    axis.set_ylabel("linear datamodeling score")
    axis.legend(fontsize=7, loc="lower right")
