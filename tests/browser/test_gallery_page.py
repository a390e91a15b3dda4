"""The gallery (`make gallery`) without what a model gives it: one file, no network, and something to see in every card."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from host import settle
from offline import Opened, faults, opened
from playwright.sync_api import Browser, expect

from tools.gallery import build

# How much is to be seen in each view: whether its canvases were drawn on, and its words.
SEEN = """() => [...document.querySelectorAll(".card")].map((card) => {
  const ink = [...card.querySelectorAll("canvas")].map((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.some((value, place) => place % 4 === 3 && value);
  });
  const words = [...card.querySelectorAll(".mw")].map((view) => view.innerText.trim().length);
  return { name: card.querySelector("h3").textContent, ink, words, theme: card.querySelector(".mw")?.dataset.theme,
    ground: card.querySelector(".ground").classList.contains("dark") ? "dark" : "light" };
})"""


@pytest.fixture(scope="module")
def gallery(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """The page, opened once: at its end it must have asked for nothing, and no error may have been left uncaught."""
    file = tmp_path_factory.mktemp("gallery") / "gallery.html"
    file.write_text(build(), encoding="utf-8")
    with opened(browser, file, width=1400) as page:
        yield page


@pytest.mark.parametrize("width", [1400, 400])
def test_every_card_shows_something(gallery: Opened, screenshots: Path, width: int) -> None:
    gallery.page.set_viewport_size({"width": width, "height": 900})
    settle(gallery.page)
    expect(gallery.document.locator(".mw-broken")).to_have_count(0)
    assert gallery.document.evaluate("document.documentElement.scrollWidth") <= width
    cards = gallery.document.evaluate(SEEN)
    assert len(cards) > 50
    for card in cards:
        assert card["words"], card
        assert min(card["words"]) > 20, card
        assert all(card["ink"]), card
        assert card["theme"] == card["ground"], card
    gallery.page.screenshot(path=screenshots / f"gallery-{width}.png")


def test_it_can_be_read_by_everybody(gallery: Opened) -> None:
    assert faults(gallery) == []


def test_cards_of_two_themes_move_together_and_those_of_two_states_do_not(gallery: Opened) -> None:
    sliders = gallery.document.locator("#patchgrid").get_by_role("slider", name="Layer")
    sliders.first.fill("20")
    expect(sliders.nth(1)).to_have_value("20")
    expect(sliders.nth(2)).not_to_have_value("20")
