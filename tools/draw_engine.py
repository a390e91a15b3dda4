"""Draw docs/engine.svg:  python tools/draw_engine.py

Left, the mask of a packed pass, as the engine makes it.  Right, what of the decoder a cell runs, layers by tokens.
"""

from __future__ import annotations

from pathlib import Path

from mllm_widgets.tracing.packing import Layout

START, SUFFIX, LAYERS = 5, 5, 6  # prefix tokens drawn, suffix tokens, layers
BEGINS = (1, 3, 0)
CELL_TOKEN, CELL_LAYER = 2, 2
SIZE = 16
SHARED, OWN, SKIPPED, EMPTY, CELL = "#7a9cc6", "#d98c3f", "#c9d3df", "#f3f3f3", "#b3261e"


def square(x: float, y: float, fill: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{SIZE - 2}" height="{SIZE - 2}" fill="{fill}"/>'


def text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{words}</text>'


def mask(left: int, top: int) -> list[str]:
    layout = Layout.of(BEGINS, SUFFIX)
    visible = layout.visible(START)
    shared = visible.shape[1] - visible.shape[0]
    drawn = [
        square(
            left + SIZE * key, top + SIZE * query, (SHARED if key < shared else OWN) if visible[query, key] else EMPTY
        )
        for query in range(visible.shape[0])
        for key in range(visible.shape[1])
    ]
    middle = top - 8
    drawn += [
        text(left, middle, "prefix"),
        text(left + SIZE * START, middle, "corrupted"),
        text(left + SIZE * (shared + 2), middle, "the copies' own keys"),
    ]
    for copy, base in enumerate(layout.base):
        drawn.append(text(left - 6, top + SIZE * base + 12, f"copy {copy}", "end"))
    return drawn


def layers(left: int, top: int) -> list[str]:
    drawn = [text(left, top - 8, "what one cell runs: layers up, tokens right")]
    for layer in range(LAYERS):
        y = top + SIZE * (LAYERS - 1 - layer)
        for token in range(START + SUFFIX):
            suffix = token - START
            runs = layer >= CELL_LAYER and suffix >= CELL_TOKEN
            fill = OWN if runs else SHARED if suffix < 0 else SKIPPED
            fill = CELL if (layer, suffix) == (CELL_LAYER, CELL_TOKEN) else fill
            drawn.append(square(left + SIZE * token, y, fill))
    y = top + SIZE * LAYERS + 18
    for fill, words in (
        (CELL, "restored here"),
        (OWN, "computed for this cell"),
        (SKIPPED, "stored once, from the corrupted run"),
        (SHARED, "stored once, from the clean run"),
    ):
        drawn += [square(left, y, fill), text(left + SIZE + 6, y + 12, words)]
        y += SIZE + 6
    return drawn


def main() -> None:
    body = "\n".join(mask(70, 30) + layers(450, 30))
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="740" height="250" viewBox="0 0 740 250" font-family="sans-serif" font-size="12">\n'
        f'<rect width="740" height="250" fill="#ffffff"/>\n{body}\n</svg>\n'
    )
    Path(__file__).resolve().parents[1].joinpath("docs", "engine.svg").write_text(svg)


if __name__ == "__main__":
    main()
