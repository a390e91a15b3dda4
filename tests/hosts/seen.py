"""What a reader sees of a widget's output: the live view, the picture, or words; never nothing.  And the picture of it for the README."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import story
from PIL import Image
from playwright.sync_api import Locator, expect

from mllm_widgets.cli.hosts import HOSTS, LIVE, PICTURE
from mllm_widgets.cli.hosts import seen as told

WIDTH, HEIGHT, GAP = 360, 400, 8  # pixels of each widget in an album
LARGEST = 60_000  # bytes of an album: they are kept in the repository
WAIT = 30_000  # milliseconds until a host has drawn what it draws
SCRIPTS_ERRORS = ("SyntaxError", "TypeError", "ReferenceError", "Traceback")


def should_live(host: str, *, state: bool) -> bool:
    """Whether `mllm-widgets check` says of a host that a widget is live there; where not, it must say that its picture is seen."""
    (found,) = (one for one in HOSTS if one.name.strip() == host)
    says = told(found, state=state, picture=True)
    assert says in (LIVE, PICTURE)
    return says == LIVE


def is_live(area: Locator, name: str) -> None:
    """The live view alone: the picture it replaces is gone, and nothing says that something went wrong."""
    expect(area.locator(story.LIVE[name])).to_have_count(1, timeout=WAIT)
    expect(area.locator(story.LIVE[name])).to_be_visible()
    for picture in area.locator(f"img[src^='data:image/png;base64,{story.PNG}']").all():
        if not picture.evaluate("(image, live) => !!image.closest(live)", story.LIVE[name]):
            expect(picture).to_be_hidden()
    says_nothing_wrong(area)


def is_pictured(area: Locator, name: str, line: str | None = None) -> None:
    """The picture, and at most one `line` of words beside it; no live view."""
    pictures = area.locator("img")
    expect(pictures).to_have_count(1, timeout=WAIT)
    pictures.scroll_into_view_if_needed()
    expect(pictures).to_be_visible()
    assert pictures.evaluate("(image) => image.decode().then(() => image.naturalWidth)") > 400
    expect(area.locator(story.LIVE[name])).to_have_count(0)
    if line is not None:
        expect(area).to_have_text(line)
    says_nothing_wrong(area)


def says_nothing_wrong(area: Locator) -> None:
    text = area.inner_text()
    assert not any(error in text for error in SCRIPTS_ERRORS), text


def shot(area: Locator) -> Image.Image:
    """A picture of the area, which must not be blank."""
    picture = Image.open(io.BytesIO(area.screenshot(animations="disabled"))).convert("RGB")
    assert not is_blank(picture), f"nothing to see in {picture.size[0]} x {picture.size[1]} pixels"
    return picture


def is_blank(picture: Image.Image) -> bool:
    """Whether hardly anything stands on one ground: less ink than a line of text has."""
    counts = picture.convert("L").histogram()
    return sum(counts) - max(counts) < 300


def album(path: Path, shots: Mapping[str, Image.Image]) -> Path:
    """The widgets side by side, small, as a palette PNG: what a host shows at a glance."""
    small = [
        picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
        for picture in shots.values()
    ]
    height = min(HEIGHT, max(picture.height for picture in small))
    sheet = Image.new("RGB", (len(small) * (WIDTH + GAP) - GAP, height), "#d0d7de")
    for index, picture in enumerate(small):
        page = Image.new("RGB", (WIDTH, height), "white")
        page.paste(picture)
        sheet.paste(page, (index * (WIDTH + GAP), 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    for colors in (128, 64, 32):
        sheet.quantize(colors, kmeans=3, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size <= LARGEST:
            break
    return path
