"""Every widget in every state on one page, to look at and to show:  python -m tools.gallery build/gallery.html

The page needs no kernel and no network.  What the demo model gives is measured while the page is made; the other numbers are made up (`tools.gallery_data`), for
states that a model gives seldom or not for long.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from ipywidgets.widgets.widget import _remove_buffers

import mllm_widgets as mw
from mllm_widgets.render.page import NO_SCRIPT, Shown, mount, policy, scripts, style
from mllm_widgets.widgets import wire
from mllm_widgets.widgets.page import models_of
from mllm_widgets.widgets.trace_maps import Maps
from tools import gallery_data as made_up

STYLE = Path(__file__).with_name("gallery.css")
BOTH = ("light", "dark")
OUT_OF_MEMORY = (
    "window 3 could not be computed: OutOfMemoryError: CUDA out of memory. Try mw.TraceHeatmap(trace, batch_size=48)."
)


@dataclass
class Section:
    """Cards under a heading; narrow ones stand in as many columns as fit."""

    name: str
    about: str
    narrow: bool = False
    cards: list[str] = field(default_factory=list)


class Gallery:
    """Sections of cards, and the models that their views need."""

    def __init__(self) -> None:
        self.models: dict[str, Any] = {}
        self.sections: list[Section] = []

    def section(self, name: str, about: str, *, narrow: bool = False) -> None:
        """Begin a section."""
        self.sections.append(Section(name, about, narrow))

    def card(self, title: str, widget: Any, *, themes: Sequence[str] = ("light",), **state: Any) -> None:
        """Views of a widget, one for each theme, which move together; `state` has traits that are replaced, in the page only."""
        found = models_of(widget)
        name = widget.model_id
        if state:
            own = found.pop(name)
            name = f"{name}-{len(self.models)}"
            found[name] = {**own, **_saved({**widget.get_state(), **state})}
        self._put(title, name, found, themes)

    def box(self, title: str, widget: Any, *, themes: Sequence[str], **traits: Any) -> None:
        """Views of several widgets that stand together, as they are now; `traits` are replaced in those that have them."""
        found, ending = models_of(widget), f"-{len(self.models)}"
        for model in found.values():
            model["state"].update({name: value for name, value in traits.items() if name in model["state"]})
        text = json.dumps(found)
        for name in found:
            text = text.replace(name, name + ending)
        self._put(title, widget.model_id + ending, json.loads(text), themes, measured=True)

    def _put(
        self, title: str, name: str, models: dict[str, Any], themes: Sequence[str], measured: bool = False
    ) -> None:
        self.models |= models
        badge = '<span class="badge">measured on the demo model</span>' if measured else ""
        for theme in themes:
            said = f"{title}, {theme}" if len(themes) > 1 else title
            view = f'<div class="ground {theme}">{mount(Shown(name))}</div>'
            self.sections[-1].cards.append(
                f'<section class="card{" wide" if measured else ""}"><h3>{escape(said)}{badge}</h3>{view}</section>'
            )

    def page(self) -> str:
        """All of it as HTML."""
        links = "".join(f'<a href="#{_anchor(part.name)}">{escape(part.name)}</a>' for part in self.sections)
        parts = "".join(
            f'<section id="{_anchor(part.name)}"><h2>{escape(part.name)}</h2><p class="about">{escape(part.about)}</p>'
            f'<div class="cards{" narrow" if part.narrow else ""}">{"".join(part.cards)}</div></section>'
            for part in self.sections
        )
        return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy()}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>mllm_widgets: every view in every state</title>
<style>{style()}{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body class="gallery">
<header>
<p class="mark">mllm_widgets</p>
<h1>Where does a model keep its answer?</h1>
<p class="lead">Every view in every state, alive in one file without a kernel or a network. Point, drag, and use the keyboard.</p>
<nav aria-label="views">{links}</nav>
</header>
<main><noscript><p class="mw-noscript">{NO_SCRIPT}</p></noscript>{parts}</main>
<footer><p>mllm_widgets {mw.__version__}, <code>make gallery</code>. Numbers are made up to show a state, but for those measured on the bundled demo model,
whose mechanism is planted.</p></footer>
{scripts(self.models, offline=False)}
</body>
</html>
"""


def build(vlm: Any = None) -> str:
    """The page; what the demo model gives is left out without one."""
    gallery = Gallery()
    question = mw.datasets.demo_question("Eiffel Tower", "city")
    if vlm is not None:
        explorer(gallery, vlm, question)
    heatmaps(gallery)
    grids(gallery, question)
    edits(gallery, question)
    panels(gallery, question)
    annotator(gallery, question)
    narrow(gallery, question)
    return gallery.page()


def explorer(gallery: Gallery, vlm: Any, question: Any) -> None:
    gallery.section(
        "Explorer",
        "One question, from the picture to the answer. A click on a cell of the trace shows what its token takes from which patches; causes confirm it.",
    )
    view = mw.Explorer(vlm, question)
    view.wait()
    view.select(patches=[43, 44, 51, 52])
    view.trace_patches()
    view.block_patches()
    view.turn_to("edit")
    panel = view.edit_panel
    assert panel is not None
    panel.sweep_layers("Rome")
    assert panel.wait(), panel.error
    panel.make("Rome")
    assert panel.wait(), panel.error
    panel.revert()
    view.turn_to("look")
    view.freeze(lams=17)
    gallery.box("Saved, with all windows and tokens frozen", view, themes=BOTH, offline=True)
    panel.apply()
    view.turn_to("edit")
    view.wait()
    gallery.box("Its answer is edited", view, themes=("light",))
    view.close()


def heatmaps(gallery: Gallery) -> None:
    gallery.section(
        "TraceHeatmap",
        "Where the answer is stored: which sub-block's output, at which token and layer, brings it back when it is copied from the clean run.",
    )
    trace = made_up.trace()
    heatmap = _heatmap(trace)
    gallery.card("Done", heatmap, themes=BOTH, seconds=1.84)
    at = len(made_up.BEFORE) + made_up.PATCHES + 4
    row = next(row for row, told in enumerate(heatmap.rows) if told["position"] == at)
    gallery.card("A cell is pinned", heatmap, selected=[row, 3], token=at, layer=3)
    before, after = trace.restored.values, made_up.trace(window=3).restored.values
    done = np.arange(trace.layers)[:, None] < trace.layers // 2
    half: dict[str, Any] = {"values": wire.tensor(np.where(done, after, before)), "fresh": _marks(done, before)}
    asked = {"window": 3, "computing": 3, "state": "running", "progress": 0.47}
    gallery.card("Window 3 is half-way there", heatmap, **asked, **half)
    first: dict[str, Any] = {**half, "values": wire.tensor(np.where(done, before, np.nan))}
    gallery.card("The first map of all", heatmap, **first, computing=1, shown=0, state="running", progress=0.47)
    old = {"window": 3, "fresh": _marks(False, before)}
    gallery.card("The model is in use", heatmap, **old, computing=3, state="waiting", message="the model is in use")
    gallery.card("The kernel does not answer, and the map is another window's", heatmap, themes=("dark",), **old)
    gallery.card("It failed, and the last map is up again", heatmap, state="error", message=OUT_OF_MEMORY)
    gallery.card("It was cancelled", heatmap, state="stopped", message="window 3 was cancelled")
    frozen = Maps(*(made_up.trace(window=window) for window in (1, 3, 5, 9))).freeze((1, 3, 5, 9), "float16")
    gallery.card("Saved, with four windows frozen", heatmap, offline=True, window=5, maps=frozen)
    gallery.card("Saved, with one window", heatmap, themes=("dark",), offline=True, window=4)
    odd = {(5, 8): np.nan, (6, 8): np.nan, (7, 9): 1.6, (8, 9): 1.3, (20, 14): -1.2, (21, 14): -1.5}
    warning = "2 cells are not numbers: the model's outputs overflow in float16."
    limit = made_up.CLEAN - made_up.CORRUPTED
    gallery.card("Unknown, and beyond the scale", _heatmap(made_up.trace(odd=odd, warnings=[warning])), limit=limit)
    gallery.card("Three modules", _heatmap(made_up.trace(modules=("mlp", "self_attn", "residual"))), module="residual")
    long = _heatmap(made_up.trace(made_up.words(made_up.LONG)))
    gallery.card("A long prompt is folded", long, themes=("dark",), module="self_attn")
    many = _heatmap(made_up.trace(made_up.words(made_up.BUSY), layers=40))
    gallery.card("40 layers, 34 tokens", many, themes=BOTH)


def _heatmap(trace: Any) -> mw.TraceHeatmap:
    """A map that looks as if its model were there."""
    heatmap = mw.TraceHeatmap(trace)
    heatmap.publish(live=True, span=made_up.span(trace.question))
    return heatmap


def _marks(done: Any, values: np.ndarray) -> dict[str, Any]:
    """Which cells of a map are of the window that is computed."""
    return wire.tensor(np.broadcast_to(done, values.shape).astype(np.uint8))


def grids(gallery: Gallery, question: Any) -> None:
    gallery.section(
        "PatchGrid",
        "What the words take from the picture, on the patches that its tokens really cover. Nothing is smoothed: a patch has one value and one colour.",
    )
    shown = made_up.patches(question, made_up.one_grid(question))
    grid = mw.PatchGrid(shown, layer=9)
    gallery.card("Contributions", grid, themes=BOTH)
    where = [r * 24 + c for r in range(9, 13) for c in range(10, 14)]
    gallery.card("A selection, over all layers", grid, selected=where)
    gallery.card("Logarithmic; what lies below the scale is hatched", grid, themes=("dark",), scale="log", layer=22)
    drowned = made_up.patches(
        question,
        made_up.one_grid(question),
        sinks=(3, 300),
        warnings=("2 of the 5 patches that write most at layer 22 are sinks.",),
    )
    sinks = mw.PatchGrid(drowned, layer=22)
    gallery.card("Two sinks drown the rest", sinks)
    gallery.card("The same, without the sinks", sinks, mask_sinks=True)
    wide, geometry = made_up.tiled()
    tiled = mw.PatchGrid(made_up.patches(wide, geometry), layer=9)
    gallery.card("Tiles", tiled)
    gallery.card("The thumbnail of the same picture, with padding", tiled, grid="thumbnail", threshold=0.25)
    names = ("·this", "·building", "?", ":")
    gallery.card("Several targets", grid, **made_up.several_targets(shown, names, 583))
    gallery.card("Saved", grid, themes=("dark",), offline=True, threshold=0.4)


def edits(gallery: Gallery, question: Any) -> None:
    gallery.section(
        "EditPanel",
        "What the model should say instead, where that is written, how strongly, and what else it changes.",
    )
    world = made_up.Edits(question)
    one = world.panel(["Rome"], applied=[1])
    gallery.card("One edit", one, themes=BOTH, bars=world.bars("Rome"))
    gallery.card("Nothing tried yet", world.panel(target="Rome"))
    wrong = "Target='Paris' is what the model answers already."
    gallery.card("It cannot be", world.panel(target="Paris"), themes=("dark",), state="error", error=wrong)
    busy = {"state": "running", "doing": "value", "progress": 0.3, "message": "searching what layer 2 should give"}
    gallery.card("A search runs", world.panel(target="Rome"), curve=world.curve("Rome", 12), **busy)
    busy = {"state": "running", "doing": "layers", "progress": 0.62, "message": "layer 5 of 0 to 7"}
    gallery.card("A sweep runs", world.panel(target="Rome"), themes=("dark",), bars=world.bars("Rome", 5), **busy)
    gallery.card("Too weak to change the answer", world.panel(["Rome"], applied=[1], lam=316.0))
    gallery.card("Saved", one, themes=("dark",), offline=True)
    two = world.panel(["Rome", "Seattle"], applied=[1, 2], together=world.together("Seattle"))
    gallery.card("Two edits together", two)
    gallery.card("One of them in the weights", world.panel(["Rome", "Seattle"], baked=[1], current=1, edited=True))


def panels(gallery: Gallery, question: Any) -> None:
    gallery.section(
        "Question, words and causes", "The other parts of an Explorer, which stand in one only: here each by itself."
    )
    asked = made_up.question_panel(question)
    gallery.card("A question and its answer", asked, themes=BOTH)
    asking = {"answer": "", "top": [], "state": "running", "message": "asking"}
    gallery.card("It is asked", asked, **asking)
    gallery.card(
        "The views are of an edited model", asked, edited="This is the edited model: 1 edit applied.", can_undo=True
    )
    wrong = "constraint='this castle' does not stand in the question; expected some of its words."
    gallery.card("It cannot be asked", asked, state="error", error=wrong)
    gallery.card("Saved", asked, themes=("dark",), offline=True)
    gallery.card("The words of each layer (logit lens)", made_up.lens_panel(), themes=BOTH)
    done = made_up.trials_panel([("trace", "done", "P 0.94, with noise 0.012"), ("block", "done", "P 0.94")])
    gallery.card("What causes say about four patches", done, themes=BOTH)
    busy = made_up.trials_panel(
        [("trace", "done", "P 0.94, with noise 0.012"), ("block", "running", ""), ("trace", "waiting", "")]
    )
    gallery.card("One is computed, one waits", busy)
    failed = made_up.trials_panel([("block", "error", "OutOfMemoryError: CUDA out of memory.")])
    gallery.card("One failed", failed)
    gallery.card("None yet", made_up.trials_panel([]))
    gallery.card(
        "Saved", made_up.trials_panel([("trace", "done", "P 0.94, with noise 0.012")]), themes=("dark",), offline=True
    )


def annotator(gallery: Gallery, question: Any) -> None:
    gallery.section(
        "ConstraintAnnotator",
        "Which words point at the picture, and which narrow the answer? Questions of one's own, marked by pointer and keyboard, each answer kept at once.",
    )
    view = _annotator(question)
    blank = [""] * len(view.words)
    gallery.card("A suggestion, by rules", view, themes=BOTH, marks=blank)
    view.mark(visual="this tower", text="1887")
    gallery.card("Marked, not saved yet", view, themes=BOTH)
    gallery.card("Nothing suggested, nothing marked", view, marks=blank, suggested=blank, suggesting="off", hint="")
    gallery.card(
        "A model is asked", view, themes=("dark",), marks=blank, suggested=blank, suggesting="running", hint=""
    )
    failed = "No suggestion: OutOfMemoryError: CUDA out of memory."
    gallery.card("The model failed", view, marks=blank, suggested=blank, suggesting="error", hint=failed)
    full = "path='constraints.csv' cannot be written (No space left on device)."
    gallery.card("It cannot be saved, and is tried again", view, answered="marked", saved="not saved", error=full)
    reason = "The picture is not what is asked about"
    skipped: dict[str, Any] = {"answered": "skipped", "reason": reason, "marks": blank, "saved": "saved"}
    gallery.card("It cannot be marked", view, themes=("dark",), **skipped)
    gallery.card("All done", view, done=view.total, answered="marked", saved="saved", marks=view.suggested)
    gallery.card("Saved", view, themes=("dark",), offline=True)


def _annotator(question: Any) -> mw.ConstraintAnnotator:
    """The second of forty questions, of which one is done."""
    text = "Which writer called this tower “a skeleton” in Paris in 1887?"
    asked = [question, *(replace(question, text=text, constraint=None) for _ in range(39))]
    view = mw.ConstraintAnnotator(asked, Path(tempfile.mkdtemp()) / "constraints.csv", suggest="rules")
    view.accept()
    view.save()
    return view


def narrow(gallery: Gallery, question: Any) -> None:
    gallery.section("Narrow", "As beside code, in a column of a slide, or on a phone.", narrow=True)
    gallery.card("TraceHeatmap", _heatmap(made_up.trace()))
    gallery.card("PatchGrid", mw.PatchGrid(made_up.patches(question, made_up.one_grid(question)), layer=9))
    world = made_up.Edits(question)
    gallery.card("EditPanel", world.panel(["Rome"], applied=[1]), themes=("dark",))
    gallery.card("Question", made_up.question_panel(question))
    gallery.card("Words of the layers", made_up.lens_panel())
    gallery.card("Constraints", _annotator(question), themes=("dark",))
    gallery.card("Causes", made_up.trials_panel([("trace", "done", "P 0.94"), ("block", "done", "")]), themes=("dark",))


def _saved(state: dict[str, Any]) -> dict[str, Any]:
    """A state as Jupyter saves it, its bytes aside."""
    left, paths, buffers = _remove_buffers(state)
    found = [
        {"path": path, "encoding": "base64", "data": base64.b64encode(data).decode()}
        for path, data in zip(paths, buffers, strict=True)
    ]
    return {"state": left, "buffers": found}


def _anchor(name: str) -> str:
    return name.lower().replace(",", "").replace(" ", "-")


if __name__ == "__main__":
    to = Path(sys.argv[1])
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(build(mw.load()), encoding="utf-8")
    print(f"{to}: {to.stat().st_size / 1000:.0f} kB")
