"""results.svg: who costs what, and how ours grows."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # no display

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks import cases, figures
from benchmarks.report import Results

COLOURS = {"haproxy": "#8a8f98", "nginx": "#b9bec6", "rpcproxy": "#2563eb"}
OTHER = "#d97706"


def draw(results: Results, path: Path) -> None:
    # Text as text keeps the file small; a fixed salt and no date keep its diffs honest.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "rpcproxy", "font.size": 9})
    panels = 1 + len(results.scalings)
    columns = 3
    figure, axes = plt.subplots(
        -(-panels // columns), columns, figsize=(12, 3.2 * -(-panels // columns)), squeeze=False
    )
    flat = list(axes.flat)
    _costs(flat[0], results.rows)
    for axis, scaling in zip(flat[1:], results.scalings, strict=False):
        _scaling(axis, scaling)
    for axis in flat[panels:]:
        axis.set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _costs(axis: Axes, rows: list[cases.Row]) -> None:
    names, values, colours = [], [], []
    for row in reversed(rows):
        if row.ratio is not None:
            names.append(f"{row.contender}, {row.case}")
            values.append(row.ratio.median)
            colours.append(COLOURS.get(row.contender, OTHER))
            if row.contender == "rpcproxy":
                bound, height = cases.BOUNDS[row.case], len(names) - 1
                axis.plot([bound, bound], [height - 0.4, height + 0.4], color="#dc2626")
    bars = axis.barh(names, values, color=colours)
    axis.bar_label(bars, fmt="%.2f", padding=2)
    axis.set_title("CPU per request, × HAProxy (red: bound)", loc="left")
    axis.set_xlim(0, max([*values, 2.0]) * 1.15)
    axis.spines[["top", "right"]].set_visible(False)


def _scaling(axis: Axes, scaling: cases.Scaling) -> None:
    axis.plot(scaling.sizes, scaling.micros, "o-", color=COLOURS["rpcproxy"], label="rpcproxy")
    axis.plot(scaling.sizes, scaling.reference, "o-", color=COLOURS["haproxy"], label="HAProxy")
    axis.set_xscale("log")
    is_bytes = scaling.unit == "bytes"
    names = [figures.bytes_text(size) if is_bytes else str(size) for size in scaling.sizes]
    axis.set_xticks(scaling.sizes, [name.replace(" ", "\n") for name in names])
    axis.minorticks_off()
    if scaling.what == "upstreams":
        axis.set_ylim(0, max(scaling.micros) * 1.3)
    else:
        axis.set_yscale("log")
    axis.set_title(f"µs CPU by {scaling.what}", loc="left")
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
