"""The edit panel in a browser and without a kernel: what it draws, what moves without one, and what it sends."""

from __future__ import annotations

import re

import pytest
from anywidget import AnyWidget
from host import host, receive, serious_faults
from playwright.sync_api import Page, expect

import mllm_widgets as mw
from mllm_widgets.widgets.edit_panel import plain
from mllm_widgets.widgets.edit_panel.applied import Seen
from mllm_widgets.widgets.edit_panel.measure import Measured
from mllm_widgets.widgets.edit_panel.probes import KINDS, demo_probes

STATE = set(mw.EditPanel.class_traits(sync=True)) - set(AnyWidget.class_traits(sync=True))


@pytest.fixture(scope="module")
def empty(vlm, question) -> dict:
    """What a panel says before anything was tried."""
    panel = mw.EditPanel(vlm, question, probes=[])
    assert panel.wait(60)
    state = {name: value for name, value in panel.get_state().items() if name in STATE}
    panel.close()
    return state


@pytest.fixture(scope="module")
def panel(vlm, question):
    """The demo's questions; "Rome" was swept over the layers and is off, "Seattle" is applied."""
    kinds = {probe.kind: probe.question for probe in demo_probes(question)}
    probes = {name: [kinds[kind]] for name, kind in KINDS.items()}
    panel = mw.EditPanel(vlm, question, steps=16, probes=probes)
    panel.sweep_layers("Rome")
    assert panel.wait(120), panel.error
    for target in ("Rome", "Seattle"):
        panel.make(target)
        assert panel.wait(60), panel.error
    yield panel
    panel.close()


@pytest.fixture
def measured(panel) -> Measured:
    return panel._work.measured[2]


def running(empty: dict, panel) -> dict:
    """The same in the middle of a search."""
    edit = panel.edits[1]
    curve = {"target": "Seattle", "layer": 2, "steps": 40}
    curve |= {"losses": list(edit.losses[:9]), "chances": list(edit.probabilities[:9])}
    busy = {"state": "running", "doing": "value", "progress": 0.2, "message": "searching what layer 2 should give"}
    return {**empty, "curve": curve, **busy, "target": "Seattle"}


def sent(page: Page) -> list[dict]:
    page.wait_for_timeout(60)
    return [{k: v for k, v in message.items() if k != "id"} for message in page.evaluate("window.widget.sent")]


def saved(page: Page) -> dict:
    page.wait_for_timeout(60)
    return page.evaluate("window.widget.saved.filter((changes) => Object.keys(changes).length).at(-1)")


@pytest.mark.parametrize(("width", "dark"), [(480, False), (480, True), (920, False), (920, True), (1600, False)])
def test_it_fits_and_can_be_read_by_everybody(page, panel, empty, screenshots, width, dark) -> None:
    wrong = {
        "state": "error",
        "error": "target='Paris' is what the model answers already.",
        "foreign": plain.foreign(Seen(foreign=1)),
    }
    states = {"done": {}, "empty": empty, "running": running(empty, panel), "error": wrong}
    for name, changes in states.items() if width == 920 else [("done", {})]:
        host(page, panel, width=width, height=1300, dark=dark, changes=changes)
        page.wait_for_timeout(300)  # for what shows after a while only
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert serious_faults(page) == []
        theme = "dark" if dark else "light"
        page.screenshot(path=screenshots / f"edit-{name}-{width}-{theme}.png", full_page=True)


def test_the_switch_says_what_the_kernel_says_not_what_was_clicked(page, panel) -> None:
    host(page, panel)
    original, edited = page.get_by_role("radio", name="Original"), page.get_by_role("radio", name="Edited")
    expect(edited).to_be_checked()
    expect(page.locator(".mw-is")).to_have_text(panel.truth)
    original.click(force=True)
    assert sent(page)[-1] == {"kind": "toggle", "edited": False}
    expect(edited).to_be_checked()  # until the model is
    receive(page, edited=False, truth="The model is as it was loaded.")
    expect(original).to_be_checked()
    expect(page.locator(".mw-is")).to_have_text("The model is as it was loaded.")


def test_an_edit_in_the_weights_applies(page, panel) -> None:
    rows = [{**row, "applied": False, "baked": row["id"] == panel.current} for row in panel.rows]
    host(page, panel, changes={"rows": rows})
    title = page.locator(".mw-column h4").nth(1)
    expect(title).to_have_text(re.compile("^Edited, λ [0-9.]+$"))
    receive(page, rows=[{**row, "baked": False} for row in rows])
    expect(title).to_contain_text("(not applied)")


def test_the_switch_stays_in_sight(page, panel) -> None:
    host(page, panel, height=500)
    page.mouse.wheel(0, 900)
    page.wait_for_timeout(200)
    assert page.evaluate("window.scrollY") > 300
    expect(page.get_by_role("radio", name="Edited")).to_be_in_viewport()


def test_the_slider_and_all_that_follows_it_need_no_kernel(page, panel, measured, screenshots) -> None:
    host(page, panel, width=920, height=1300)
    slider = page.get_by_role("slider", name="lambda")
    slider.focus()
    slider.press("End")
    assert saved(page) == {"lam_of": {**panel.lam_of, "2": 32}}
    expect(page.locator(".mw-column").nth(1).locator(".mw-says b")).to_have_text("Paris")
    for at in (0, 18, 32):
        slider.fill(str(at))
        rows = page.locator(".mw-effects tbody tr:has(.mw-chance)")
        page.wait_for_timeout(60)  # one frame
        values = rows.locator(".mw-chance").evaluate_all("cells => cells.map((cell) => Number(cell.dataset.value))")
        assert values == pytest.approx(measured.probability[at].tolist(), abs=1e-6)
        words = rows.locator(".mw-verdict").evaluate_all("cells => cells.map((cell) => cell.textContent.slice(2))")
        assert words == [measured.verdict(place, at)[1] for place in range(len(values))]
        label = page.locator(".mw-trade svg[role=img]").get_attribute("aria-label") or ""
        assert (f"efficacy {values[0]:.3f}" if values[0] > 0.1 else "efficacy") in label
        top = (
            page.locator(".mw-column")
            .nth(1)
            .locator(".mw-top small")
            .evaluate_all("n => n.map((x) => +x.dataset.value)")
        )
        assert top == pytest.approx(measured.top_p[at, 0].tolist(), abs=1e-6)
    page.screenshot(path=screenshots / "edit-weak.png", full_page=True)


def test_a_drag_over_the_trade_off_moves_lambda(page, panel) -> None:
    host(page, panel, width=920, height=1300)
    box = page.locator(".mw-trade svg[role=img]").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 60, steps=4)
    page.mouse.up()
    assert saved(page)["lam_of"]["2"] == 16
    expect(page.get_by_role("slider", name="lambda")).to_have_value("16")


def test_another_edit_is_looked_at_without_a_kernel(page, panel) -> None:
    host(page, panel, width=920, height=1300)
    page.get_by_role("radio", name="look at: “Rome”").check(force=True)
    assert saved(page) == {"current": 1}
    expect(page.locator(".mw-column").nth(1).locator(".mw-says")).to_contain_text("P(Rome)")
    expect(page.locator(".mw-trade")).to_be_visible()


def test_a_checkbox_asks_the_kernel_and_shows_what_it_answers(page, panel) -> None:
    host(page, panel, width=920, height=1300)
    box = page.get_by_role("checkbox", name="applied: “Rome”")
    expect(box).not_to_be_checked()
    box.click()
    assert sent(page)[-1] == {"kind": "check", "edit": 1, "on": True}
    expect(box).not_to_be_checked()
    rows = [{**row, "applied": True} for row in panel.rows]
    receive(page, rows=rows)
    expect(box).to_be_checked()
    expect(box).to_be_focused()


def test_what_several_edits_do_together_stands_beside(page, panel, screenshots) -> None:
    host(page, panel, width=920, height=1300)
    expect(page.locator(".mw-column")).to_have_count(2)
    rows = [{**row, "applied": True} for row in panel.rows]
    top = [{"token": "·Berlin", "p": 0.75}, {"token": "·Rome", "p": 0.125}]
    together = [{"answer": "Berlin", "top": top} for _ in panel.probes]
    receive(page, rows=rows, together=together, truth="2 edits applied together: …")
    expect(page.locator(".mw-column").nth(2)).to_contain_text("Berlin")
    expect(page.locator(".mw-effects tbody tr").nth(1).locator("td").last).to_have_text("Berlin 0.750")
    assert page.evaluate("document.documentElement.scrollWidth") <= 920
    page.screenshot(path=screenshots / "edit-together.png", full_page=True)


def test_a_layer_is_picked_with_the_arrows_or_a_click_and_says_what_it_gives(page, panel) -> None:
    host(page, panel, width=920, height=1300)
    layers = page.get_by_role("listbox", name="Layer to edit")
    chosen = layers.locator("[aria-selected=true]")
    expect(chosen).to_have_attribute(
        "aria-label", re.compile(f"^layer {panel.causal}, the causal layer, indirect effect")
    )
    reached = panel.bars["reached"][panel.causal]
    expect(chosen).to_have_attribute("aria-label", re.compile(rf"P\(Rome\) {reached:.3f} with the value in place"))
    layers.focus()
    layers.press("Home")
    assert saved(page) == {"layer": 0}
    layers.press("ArrowRight")
    assert saved(page) == {"layer": 1}
    expect(page.get_by_role("button", name="Try at layer 1")).to_be_visible()
    layers.locator("[data-layer='5']").click()
    assert saved(page) == {"layer": 5}
    bars = layers.locator(".mw-after").evaluate_all("bars => bars.map((bar) => Number(bar.dataset.value))")
    assert bars == pytest.approx(panel.bars["efficacy"])


def test_enter_tries_what_was_typed_and_nothing_is_sent_while_a_search_runs(page, panel, empty) -> None:
    host(page, panel, changes=empty)
    field = page.get_by_role("textbox", name="target")
    field.fill("Berlin")
    field.press("Enter")
    assert sent(page)[-1] == {"kind": "try", "target": "Berlin", "layer": panel.causal}
    receive(page, **{name: value for name, value in running(empty, panel).items() if name != "target"})
    page.wait_for_timeout(300)
    count = len(sent(page))
    field.press("Enter")
    assert len(sent(page)) == count
    expect(page.locator(".mw-status")).to_contain_text("searching what layer 2 should give")
    expect(page.locator(".mw-chart svg[role=img]").first).to_have_attribute("aria-label", re.compile("step 8: loss"))
    expect(page.get_by_role("radio", name="Original")).to_be_disabled()
    page.get_by_role("button", name="Cancel").click()
    assert sent(page)[-1] == {"kind": "cancel"}


def test_what_needs_a_kernel_says_that_there_is_none(page, panel, screenshots) -> None:
    host(page, panel, width=920, height=1300)
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("alert")).to_contain_text("No answer from the kernel", timeout=4000)
    page.screenshot(path=screenshots / "edit-silent.png", full_page=True)


def test_keys_of_its_controls_do_not_reach_jupyterlab(page, panel) -> None:
    host(page, panel, width=920, height=1300)
    page.evaluate("window.heard = []; document.addEventListener('keydown', (event) => window.heard.push(event.key))")
    for control, key in (
        (page.get_by_role("slider", name="lambda"), "ArrowRight"),
        (page.get_by_role("radio", name="Edited"), "ArrowLeft"),
        (page.get_by_role("listbox", name="Layer to edit"), "ArrowLeft"),
        (page.get_by_role("checkbox", name="applied: “Rome”"), " "),
        (page.get_by_role("textbox", name="target"), "a"),
        (page.get_by_role("textbox", name="file name"), "b"),
    ):
        control.focus()
        control.press(key)
    assert page.evaluate("window.heard") == []


def test_a_removed_view_leaves_nothing_running(page, panel) -> None:
    host(page, panel)
    image = page.locator("header img")
    page.evaluate("window.widget.abort.abort()")
    assert image.evaluate("(i) => fetch(i.src).then(() => 'still there', () => 'gone')") == "gone"
    before = page.locator(".mw-editing").inner_html()
    page.evaluate("document.body.classList.add('dark')")
    page.wait_for_timeout(100)
    assert page.locator(".mw-editing").inner_html() == before
