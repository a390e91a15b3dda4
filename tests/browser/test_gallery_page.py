"""The gallery (`make gallery`) without what a model gives it: one file, no network, and something to see in every card."""

from __future__ import annotations

from pathlib import Path

import pytest
from offline import faults, opened
from playwright.sync_api import Browser, expect

from tools.gallery import build

# How much is to be seen in each view: opaque pixels of its canvases, its pictures and charts, its words.
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
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("gallery") / "gallery.html"
    file.write_text(build(), encoding="utf-8")
    return file


@pytest.mark.parametrize("width", [400, 1400])
def test_every_card_shows_something_and_asks_for_nothing(
    browser: Browser, gallery: Path, screenshots: Path, width: int
) -> None:
    with opened(browser, gallery, width=width) as page:
        expect(page.document.locator(".mw-broken")).to_have_count(0)
        assert page.document.evaluate("document.documentElement.scrollWidth") <= width
        cards = page.document.evaluate(SEEN)
        assert len(cards) > 50
        for card in cards:
            assert card["words"], card
            assert min(card["words"]) > 20, card
            assert all(card["ink"]), card
            assert card["theme"] == card["ground"], card
        page.page.screenshot(path=screenshots / f"gallery-{width}.png", full_page=True)


def test_it_can_be_read_by_everybody(browser: Browser, gallery: Path) -> None:
    with opened(browser, gallery, width=1400) as page:
        assert faults(page) == []


def test_cards_that_differ_in_state_do_not_move_together_and_those_of_two_themes_do(
    browser: Browser, gallery: Path
) -> None:
    with opened(browser, gallery, width=1400) as page:
        grids = page.document.locator("#patchgrid").get_by_role("slider", name="Layer")
        grids.first.fill("20")
        expect(grids.nth(1)).to_have_value("20")  # the same in the dark
        expect(grids.nth(2)).not_to_have_value("20")  # with a selection
