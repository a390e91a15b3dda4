"""Pictures as users have them: every mode and format, or a sentence that says what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import mllm_widgets as mw
from mllm_widgets.errors import QuestionError
from mllm_widgets.vlm.images import as_image


def seen(image) -> np.ndarray:
    """What the model will see, (height, width, 3)."""
    question = mw.Question(image, "What is this?", constraint="this")
    assert question.image.mode == "RGB"
    return np.asarray(question.image)


def saved(path, image, **options):
    image.save(path, **options)
    return path


RED = np.zeros((6, 8, 3), np.uint8) + np.array([250, 10, 20], np.uint8)


def test_transparent_pixels_are_white(tmp_path):
    pixels = np.dstack([RED, np.full((6, 8), 255, np.uint8)])
    pixels[:, 4:] = (0, 0, 0, 0)  # what editors write under erased pixels
    pixels[0, 0, 3] = 128
    path = saved(tmp_path / "a.png", Image.fromarray(pixels))
    for image in (path, str(path), Image.fromarray(pixels), pixels):
        picture = seen(image)
        assert (picture[:, 4:] == 255).all()
        assert (picture[1:, :4] == RED[1:, :4]).all()
        assert np.abs(picture[0, 0].astype(int) - [252, 132, 137]).max() <= 1


@pytest.mark.parametrize("mode", ["LA", "RGBa", "La"])
def test_other_modes_with_transparency(mode):
    grey = np.dstack([np.full((6, 8), 90, np.uint8), np.zeros((6, 8), np.uint8)])
    grey[:, 4:, 1] = 255
    image = Image.fromarray(grey, "LA").convert("RGBA" if mode == "RGBa" else "LA").convert(mode)
    picture = seen(image)
    assert (picture[:, :4] == 255).all()
    assert np.abs(picture[:, 4:].astype(int) - 90).max() <= 1


def test_palettes_keep_their_colours_and_their_transparent_entry(tmp_path):
    image = Image.fromarray(RED).convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    assert np.abs(seen(saved(tmp_path / "a.png", image)).astype(int) - RED).max() <= 8
    index = int(np.asarray(image)[0, 0])
    assert (seen(saved(tmp_path / "b.png", image, transparency=index)) == 255).all()


def test_cmyk_is_converted(tmp_path):
    path = saved(tmp_path / "a.jpg", Image.fromarray(RED).convert("CMYK"), quality=95)
    assert Image.open(path).mode == "CMYK"
    assert np.abs(seen(path).astype(int) - RED).max() <= 12


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i4"])
def test_sixteen_bits_are_scaled_not_cut_off(tmp_path, dtype):
    ramp = np.linspace(0, 65535, 48).reshape(6, 8)
    image = Image.fromarray(ramp.astype(dtype))
    wanted = np.round(np.round(ramp) / 257).astype(int)
    for picture in (seen(image), seen(saved(tmp_path / "a.tif", image))):
        assert np.abs(picture[..., 0].astype(int) - wanted).max() <= 1
        assert (picture[..., 0] == picture[..., 2]).all()


def test_sixteen_bit_png(tmp_path):
    ramp = np.linspace(0, 65535, 48).reshape(6, 8).astype(np.uint16)
    path = saved(tmp_path / "a.png", Image.fromarray(ramp))
    assert np.abs(seen(path)[..., 1].astype(int) - ramp // 257).max() <= 1


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.fromarray(RED), Image.new("RGB", (8, 6), "blue"), Image.new("RGB", (8, 6), "green")]
    path = saved(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:], duration=50)
    assert getattr(Image.open(path), "n_frames", 1) == 3
    assert np.abs(seen(path).astype(int) - RED).max() <= 8


def test_pictures_are_turned_upright(tmp_path):
    pixels = RED.copy()
    pixels[0] = 0
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    picture = seen(saved(tmp_path / "a.png", Image.fromarray(pixels), exif=exif))
    assert picture.shape == (8, 6, 3)
    assert (picture[:, -1] == 0).all()


@pytest.mark.parametrize(
    "array",
    [RED, RED / 255.0, (RED / 255.0).astype(np.float32), RED.astype(np.int64), RED.tolist()],
    ids=["uint8", "float64", "float32", "int64", "list"],
)
def test_arrays(array):
    assert (seen(array) == RED).all()


def test_grey_and_black_and_white_arrays():
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    assert (seen(grey)[..., 1] == grey).all()
    assert (seen(grey[..., None])[..., 1] == grey).all()
    assert (seen(grey > 20)[..., 2] == np.where(grey > 20, 255, 0)).all()


def test_the_users_picture_is_not_changed():
    image = Image.fromarray(np.dstack([RED, RED[..., 0]]))
    before = image.tobytes()
    question = mw.Question(image, "What is this?")
    question.image.putpixel((0, 0), (1, 2, 3))
    assert (image.mode, image.tobytes()) == ("RGBA", before)
    plain = Image.fromarray(RED)
    mw.Question(plain, "What is this?").image.putpixel((0, 0), (1, 2, 3))
    assert plain.getpixel((0, 0)) == (250, 10, 20)


def test_a_decompression_bomb_is_a_sentence(tmp_path, monkeypatch):
    path = saved(tmp_path / "bomb.png", Image.new("1", (400, 400)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(QuestionError, match=r"bomb.png' is too large to be decoded safely"):
        as_image(path)


def test_files_that_are_no_pictures(tmp_path):
    (tmp_path / "words.png").write_text("no picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    whole = saved(
        tmp_path / "whole.png", Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
    )
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:900])
    for name in ("words.png", "empty.jpg", "cut.png"):
        with pytest.raises(QuestionError, match=f"{name}' cannot be read as a picture .*cut off or of another kind"):
            as_image(tmp_path / name)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("missing.png", "image='missing.png' does not exist .* spelling"),
        ("https://example.org/a.png", "is a web address; expected a file"),
        (3, "image is a int; expected a PIL image"),
        (b"abc", "image is a bytes; expected a PIL image"),
        ([["a", "b"]], "image is a list .*expected a PIL image"),
        (np.zeros((3, 8, 9), np.uint8), "channels seem to come first"),
        (np.zeros((8, 8, 2), np.uint8), r"of shape \(8, 8, 2\); expected"),
        (np.zeros((1, 8, 8, 3), np.uint8), r"of shape \(1, 8, 8, 3\); expected"),
        (np.zeros((0, 8, 3), np.uint8), "no pixels"),
        (np.full((8, 8), 2.0), "floats must lie in 0..1. Divide by 255"),
        (np.full((8, 8), np.nan), "floats must lie in 0..1"),
        (np.full((8, 8), -1), "values from -1 to -1"),
        (np.full((8, 8), 300), "values from 300 to 300"),
        (np.zeros((8, 8), complex), "expected a PIL image"),
        (Image.new("RGB", (0, 5)), "no pixels: its size is 0 x 5"),
    ],
)
def test_what_is_no_picture_is_refused(image, words):
    with pytest.raises(QuestionError, match=words):
        mw.Question(image, "What is this?")


def test_folders_and_closed_files_are_refused(tmp_path):
    with pytest.raises(QuestionError, match="is a folder; expected a picture file"):
        as_image(tmp_path)
    path = saved(tmp_path / "a.png", Image.fromarray(RED))
    with Image.open(path) as image:
        pass
    with pytest.raises(QuestionError, match=r"cannot be read .* may be closed"):
        as_image(image)
