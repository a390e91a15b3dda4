"""The picture of a map, pixel by pixel: it must say what the live widget says."""

from __future__ import annotations

import dataclasses
import io
import itertools
import re
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mllm_widgets.colormaps import beyond, color_index, effect_colors, effect_limit
from mllm_widgets.render import draw_heatmap, draw_trace, heatmap
from mllm_widgets.render.pen import ACCENT, FAINT, INK, SCALE, UNTRACED, cut, text_width
from mllm_widgets.results import fold_untraced
from tests.drawn_pictures import texts

WHITE = (255, 255, 255)


def rgb(color: str) -> tuple[int, ...]:
    return tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))


def trace_picture(trace, module=None):
    return draw_trace(trace, module).image()


def pixels(image):
    return np.asarray(image)


class Grid:
    """Finds the cells of a picture by the marks of its constraint rows, and not by the numbers that drew them."""

    def __init__(self, image, marked, layers):
        self.pixels = pixels(image)
        accent = (self.pixels == rgb(ACCENT)).all(axis=2)
        # labels of marked rows have the same colour: the mark is where a column of it is longest
        tall = accent.sum(axis=0)
        columns = np.flatnonzero(tall == tall.max())
        self.marks = np.flatnonzero(accent[:, columns[0]])
        self.height = tall.max() // len(marked)
        self.top = self.marks[0] - marked[0] * self.height
        self.left = columns[-1] + 1 + SCALE  # a mark stands one unit before its row
        self.width = SCALE * int(np.clip(560 // layers, 10, 46))

    def cell(self, row, layer):
        y, x = self.top + row * self.height, self.left + layer * self.width
        return self.pixels[y : y + self.height - SCALE, x : x + self.width - SCALE]

    def color(self, row, layer):
        """The only colour of a cell."""
        (color,) = {tuple(int(c) for c in color) for color in self.cell(row, layer).reshape(-1, 3)}
        return color


def random_map(rows, layers, seed=0):
    return np.random.default_rng(seed).uniform(-0.6, 1.1, (rows, layers))


def draw(effect, marked=(0, 1), **more):
    names = [f"·token{i}" for i in range(len(effect))]
    return draw_heatmap(effect, names, **{"module": "mlp", "limit": 1.0, "marked": marked, **more}).image()


# --- a trace ------------------------------------------------------------------------------------------------------------------


def test_the_planted_cell_has_the_colour_of_full_recovery(trace):
    marked = [i for i, row in enumerate(trace.rows) if row.constraint]
    grid = Grid(trace_picture(trace, "mlp"), marked, trace.layers)
    effect = float(trace.indirect_effect.sel(module="mlp", layer=2, token=trace.constraint[-1]))
    assert effect > 0.8 * trace.total_effect
    table = effect_colors("mlp")
    limit = effect_limit(trace.indirect_effect.values, trace.total_effect)
    assert grid.color(marked[-1], 2) == tuple(int(c) for c in table[color_index(np.array(effect), limit)])


@pytest.mark.parametrize("module", ["mlp", "self_attn"])
def test_every_cell_of_a_trace_has_its_colour(trace, module):
    marked = [i for i, row in enumerate(trace.rows) if row.constraint]
    grid = Grid(trace_picture(trace, module), marked, trace.layers)
    limit = effect_limit(trace.indirect_effect.values, trace.total_effect)
    traced = [(i, row) for i, row in enumerate(trace.rows) if row.traced]
    assert len(traced) == 5
    for (i, row), layer in itertools.product(traced, range(trace.layers)):
        effect = float(trace.restored.sel(module=module, layer=layer, token=row.position)) - trace.corrupted
        wanted = effect_colors(module)[color_index(np.array(effect), limit)]
        assert grid.color(i, layer) == tuple(int(c) for c in wanted), (i, layer)


def test_rows_without_effect_are_striped(trace):
    marked = [i for i, row in enumerate(trace.rows) if row.constraint]
    grid = Grid(trace_picture(trace), marked, trace.layers)
    untraced = [i for i, row in enumerate(trace.rows) if not row.traced]
    assert untraced == list(range(marked[0]))
    for i in (untraced[0], untraced[-1]):  # the note stands over some between
        for layer in range(trace.layers):
            colors = {tuple(int(c) for c in color) for color in grid.cell(i, layer).reshape(-1, 3)}
            assert colors == {rgb(color) for color in UNTRACED}


def test_the_same_trace_gives_the_same_bytes(trace):
    def png():
        buffer = io.BytesIO()
        trace_picture(trace).save(buffer, format="PNG")
        return buffer.getvalue()

    assert png() == png()


def test_an_unknown_module_is_a_sentence(trace):
    with pytest.raises(
        ValueError, match=re.escape("module='heads' is not in this trace; it has ('mlp', 'self_attn').")
    ):
        trace_picture(trace, "heads")


def words_of(trace, monkeypatch, module=None) -> dict[str, Any]:
    words = {}
    monkeypatch.setattr(heatmap, "draw_heatmap", lambda effect, names, **more: words.update(names=names, **more))
    draw_trace(trace, module)
    return words


def test_the_words_are_those_of_the_trace(trace, monkeypatch):
    words = words_of(dataclasses.replace(trace, window=3), monkeypatch, "self_attn")
    assert words["title"] == "What is the city of this building?"
    assert words["subtitle"].startswith(
        "Self-attention, 3 layers: l−1 … l+1.  P(Paris): clean 0.999, with “Taj Mahal” 1.44e−7"
    )
    assert [words["names"][i] for i in words["marked"]] == ["·this", "·building"]
    assert words["names"][5] == "\\n"


def test_an_answer_of_white_space_can_be_seen(trace, monkeypatch):
    assert "P(\\n):" in words_of(dataclasses.replace(trace, answer_token="\n"), monkeypatch)["subtitle"]


def test_long_prompts_are_folded_as_in_the_widget(trace):
    """Only what cannot have an effect is folded, and the rows below it stay what they were."""
    first = trace.rows[0]
    prompt = tuple(dataclasses.replace(first, position=-60 + i) for i in range(60))
    long = dataclasses.replace(trace, rows=prompt + trace.rows)
    folded = fold_untraced(long.rows)
    assert len(folded) < 20
    assert [row for row in folded if row.traced] == [row for row in trace.rows if row.traced]
    marked = [i for i, row in enumerate(folded) if row.constraint]
    grid = Grid(trace_picture(long), marked, trace.layers)
    plain = Grid(trace_picture(trace), [i for i, row in enumerate(trace.rows) if row.constraint], trace.layers)
    last = len(trace.rows) - len(folded)
    for i, layer in itertools.product(range(marked[0], len(folded)), range(trace.layers)):
        assert grid.color(i, layer) == plain.color(i + last, layer)


# --- any map ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "layers"), [(2, 1), (5, 8), (40, 12), (41, 32), (60, 80)])
@pytest.mark.parametrize("module", ["mlp", "self_attn"])
def test_cells_are_where_their_rows_and_layers_are(rows, layers, module):
    effect = np.clip(random_map(rows, layers), -1, 1)
    grid = Grid(draw(effect, module=module, title="Which?", subtitle="MLP"), [0, 1], layers)
    wanted = effect_colors(module)[color_index(effect, 1.0)]
    for row, layer in itertools.product({0, 1, rows // 2, rows - 1}, {0, layers // 2, layers - 1}):
        assert grid.color(row, layer) == tuple(int(c) for c in wanted[row, layer])


def test_cells_are_apart(trace):
    image = draw(random_map(4, 8))
    grid = Grid(image, [0, 1], 8)
    y, x = grid.top + grid.height - 1, grid.left + grid.width - 1
    assert (grid.pixels[y, grid.left : grid.left + 8 * grid.width] == 255).all()
    assert (grid.pixels[grid.top : grid.top + 4 * grid.height, x] == 255).all()


def test_effects_beyond_the_scale_have_the_colours_of_its_ends_and_a_mark():
    plain = Grid(draw(np.array([[1.0, -1.0, 0.0]]), marked=[0]), [0], 3)
    grid = Grid(draw(np.array([[5.0, -5.0, 0.0]]), marked=[0]), [0], 3)
    ends = [tuple(int(c) for c in effect_colors("mlp")[i]) for i in (255, 0)]
    assert [plain.color(0, layer) for layer in (0, 1)] == ends
    for layer, color in enumerate(ends):
        cell = grid.cell(0, layer)
        assert tuple(cell[len(cell) // 2, len(cell[0]) // 2]) == color
        marked = (cell != color).any(axis=2)
        rows, columns = np.nonzero(marked)
        assert 20 < marked.sum() < 0.1 * marked.size
        assert columns.min() > 0.7 * len(cell[0])
        assert rows.max() < 0.5 * len(cell) if layer == 0 else rows.min() > 0.5 * len(cell)
    assert grid.color(0, 2) == plain.color(0, 2)


@pytest.mark.parametrize(
    ("value", "side"), [(1.0, 0), (1.0009, 0), (1.0011, 1), (-1.0011, -1), (np.nan, 0), (np.inf, 1)]
)
def test_rounding_marks_nobody(value, side):
    assert beyond(np.array(value), 1.0) == side
    assert beyond(np.array(value * 7), 7.0) == side


def test_one_unknown_cell_is_outlined_and_crossed_and_its_neighbours_are_as_they_were():
    effect = random_map(3, 8)
    effect[1, 4] = np.nan
    image = draw(effect)
    grid, whole = Grid(image, [0, 1], 8), Grid(draw(random_map(3, 8)), [0, 1], 8)
    cell = grid.cell(1, 4)
    assert (cell[:2] == rgb(UNTRACED[1])).all()
    assert (cell[:, -2:] == rgb(UNTRACED[1])).all()
    assert tuple(cell[4, 10]) == WHITE
    middle = cell[len(cell) // 2 - 2 : len(cell) // 2 + 2, len(cell[0]) // 2 - 2 : len(cell[0]) // 2 + 2]
    assert (np.abs(middle.astype(int) - rgb(FAINT)).max(axis=2) < 90).any()
    height = min(len(grid.pixels), len(whole.pixels)) - 14 * SCALE  # the key of the mark is below
    different = (grid.pixels[:height] != whole.pixels[:height]).any(axis=2)
    y, x = grid.top + grid.height, grid.left + 4 * grid.width
    different[y : y + grid.height - 2, x : x + grid.width - 2] = False
    assert not different.any()
    assert image.height > draw(random_map(3, 8)).height


def test_a_traced_row_of_which_nothing_is_known_is_not_striped():
    effect = random_map(3, 8)
    effect[2] = np.nan
    striped, crossed = (Grid(draw(effect, traced=traced), [0, 1], 8) for traced in (None, (0, 1, 2)))
    assert rgb(UNTRACED[0]) in {tuple(c) for c in striped.cell(2, 3).reshape(-1, 3)}
    assert rgb(UNTRACED[0]) not in {tuple(c) for c in crossed.cell(2, 3).reshape(-1, 3)}


def test_the_key_tells_of_marks_that_occur_and_of_no_others():
    effect = random_map(3, 8)

    def words(effect, **more):
        return texts(draw_heatmap(effect, ["a"] * 3, module="mlp", limit=2.0, **more))

    assert not {"not known", "beyond the scale", "no effect is possible"} & set(words(effect))
    effect[0, 0], effect[1, 1] = np.nan, 3.0
    assert {"not known", "beyond the scale"} <= set(words(effect))
    assert "no effect is possible" not in words(effect)
    effect[2] = np.nan  # one row alone has no room for the note
    assert "no effect is possible" in words(effect, note="before the constraint")


def test_the_selected_cell_is_framed():
    effect = random_map(4, 8)
    plain, framed = Grid(draw(effect), [0, 1], 8), Grid(draw(effect, selected=(2, 5)), [0, 1], 8)
    changed = np.argwhere((plain.pixels != framed.pixels).any(axis=2))
    y, x = framed.top + 2 * framed.height, framed.left + 5 * framed.width
    around = changed[changed[:, 0] < framed.top + 4 * framed.height]
    assert around.min(axis=0).tolist() == [y - 5, x - 5]
    assert around.max(axis=0).tolist() == [y + framed.height - 2 + 4, x + framed.width - 2 + 4]
    assert tuple(framed.pixels[y + framed.height // 2, x - 2]) == rgb(INK)
    assert tuple(framed.cell(2, 5)[20, 40]) == plain.color(2, 5)


def test_only_rows_of_the_constraint_are_marked():
    effect = random_map(6, 8)
    plain, marked = pixels(draw(effect, marked=())), pixels(draw(effect, marked=(2, 4)))
    changed = np.flatnonzero((plain != marked).any(axis=(1, 2)))
    grid = Grid(draw(effect, marked=(2,)), [2], 8)
    for row in (2, 4):
        y = grid.top + row * grid.height
        assert set(range(y, y + grid.height)) <= set(changed)
        changed = np.setdiff1d(changed, np.arange(y, y + grid.height))
    assert changed.size == 0


def test_the_note_covers_only_rows_without_effect():
    effect = random_map(8, 8)
    effect[:5] = np.nan
    plain, noted = (pixels(draw(effect, marked=(5,), note=note)) for note in ("", "no effect is possible"))
    grid = Grid(draw(effect, marked=(5,)), [5], 8)
    cells = slice(0, grid.top + 8 * grid.height)  # below, a key says what the note would
    rows, columns = np.nonzero((plain[cells] != noted[cells]).any(axis=2))
    assert rows.size > 0
    assert grid.top < rows.min() <= rows.max() < grid.top + 5 * grid.height
    assert grid.left <= columns.min() <= columns.max() < grid.left + 8 * grid.width


def test_pictures_grow_with_their_rows():
    heights = [draw(random_map(rows, 8)).height for rows in (5, 6, 20, 40)]
    assert heights[1] - heights[0] == 20 * SCALE
    assert heights[2] - heights[0] == 15 * 20 * SCALE
    many = [draw(random_map(rows, 8)).height for rows in (41, 60)]
    assert many[1] - many[0] == 19 * 14 * SCALE  # lower rows where there are many


def test_a_large_map_fits_a_page():
    image = draw_heatmap(random_map(60, 32), ["a very long token " * 9] * 60, module="mlp", limit=1).image()
    assert image.width < 1600
    assert image.height < 2000


@pytest.mark.parametrize("layers", [1, 8, 32])
def test_nothing_touches_the_edges(layers):
    image = draw(
        random_map(3, layers),
        title="A question that is much longer than the picture is wide, " * 9,
        subtitle="and what is said about it, " * 20,
        limit=0.000123,
    )
    edges = pixels(image).copy()
    inside = 4 * SCALE
    edges[inside:-inside, inside:-inside] = 255
    assert (edges == 255).all()


def test_words_on_several_lines_are_put_on_one():
    effect = random_map(3, 8)
    one = draw(effect, title="Which city? One word.", subtitle="a b")
    several = draw(effect, title="Which city?\nOne word.", subtitle="a\r\nb")
    assert pixels(several).tobytes() == pixels(one).tobytes()


def test_words_that_do_not_fit_end_in_an_ellipsis():
    def width(text):
        return text_width(text, 12)

    text = "Which city is this building in?"
    for room in range(20, int(width(text)) + 20, 7):
        short = cut(text, 12, room)
        assert width(short) <= room
        if short != text:
            assert short.endswith("…")
            kept = short[:-1]
            assert text.startswith(kept)
            longer = text[: len(kept) + 1 + (text[len(kept)] == " ")]
            assert width(f"{longer.rstrip()}…") > room or longer == text
    assert cut(text, 12, width(text)) == text
    assert cut(text, 12, 0) == "…"


def test_a_question_of_any_length_is_cut_at_once():
    began = time.perf_counter()
    draw(random_map(2, 8), title="Why? " * 5000)
    assert time.perf_counter() - began < 2


def test_the_legend_runs_from_one_end_of_the_scale_to_the_other():
    image = draw(random_map(2, 8), limit=0.5)
    grid = Grid(image, [0, 1], 8)
    below = grid.pixels[grid.top + 2 * grid.height :]
    table = effect_colors("mlp")
    rows = [row for row in below if (row[grid.left] == table[0]).all()]
    assert len(rows) == 10 * SCALE
    strip = rows[0][grid.left :]
    end = int(np.flatnonzero((strip == 255).all(axis=1))[0])
    assert (strip[0] == table[0]).all()
    assert (strip[end - 1] == table[255]).all()
    assert abs(strip[end // 2].astype(int) - np.array(table[128], dtype=int)).max() <= 4


def test_pictures_have_no_transparency(trace):
    image = trace_picture(trace)
    assert isinstance(image, Image.Image)
    assert image.mode == "RGB"
    assert image.getpixel((0, 0)) == WHITE


def test_a_note_is_written_over_the_rows_it_is_true_of():
    effect = random_map(8, 8)
    effect[:5] = np.nan
    image = draw(effect, marked=(5,))
    grid = Grid(image, [5], 8)
    noted = pixels(draw(effect, marked=(5,), note="no effect is possible", noted=(0, 1)))
    cells = slice(0, grid.top + 8 * grid.height)
    changed = np.flatnonzero((grid.pixels[cells] != noted[cells]).any(axis=(1, 2)))
    assert len(changed) > 0
    middle = grid.top + grid.height  # between rows 0 and 1
    assert abs((changed[0] + changed[-1]) / 2 - middle) < grid.height / 4
