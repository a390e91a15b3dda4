"""The two demo models against their bars, on questions used nowhere else; their cards; and the machinery that trained them."""

from __future__ import annotations

import hashlib
import json
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

import mllm_widgets as mw
from mllm_widgets.datasets import templates, world
from mllm_widgets.datasets.landmarks import draw_and_locate
from mllm_widgets.datasets.questions import demo_specs
from mllm_widgets.demo import architecture, card, episodes, evaluate, measures, vision
from mllm_widgets.demo.episodes import PLANTED_LAYERS
from mllm_widgets.demo.interchange import Packed
from mllm_widgets.demo.looking import looking
from mllm_widgets.vlm.loading import DEMO_MODELS, DEMO_NAMES

SEED = 90210  # of this file alone: not of evaluate.py, not of training
both = pytest.mark.parametrize("name", DEMO_NAMES)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Models this small gain nothing from a second thread, and where other work shares the cores each waits for the other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def model(name: str) -> mw.VLM:
    return mw.load(name)


@cache
def figures(name: str) -> dict:
    """The measures that have bars, on a smaller sample than the card's."""
    vlm, specs = model(name), demo_specs(48, seed=SEED)
    corruption, maps = measures.corruption_and_maps(vlm, specs, 6, SEED)
    return {
        "answers": measures.answers(vlm, specs),
        "corruption": corruption,
        "maps": maps,
        "interchange": measures.interchange(vlm, 12, SEED),
        "looking": looking(vlm, demo_specs(12, seed=SEED), SEED),
    }


def stored(name: str) -> dict:
    return json.loads((DEMO_MODELS / name / "evaluation.json").read_text(encoding="utf-8"))


def effect(name: str, module: str, window: int, row: int) -> np.ndarray:
    return figures(name)["maps"]["effect"][str(window)][module][row]


@both
def test_answers(name):
    answers = figures(name)["answers"]
    assert answers["questions"] == 48
    assert answers["accuracy"] >= 0.95
    assert answers["mean_probability"] >= 0.85


@both
def test_another_name_takes_the_answer_away(name):
    assert figures(name)["corruption"]["share_below_0.1"] >= 0.9


def test_the_planted_map():
    store = effect("demo", "mlp", 1, measures.LAST_CONSTRAINT)
    outside = np.delete(store, PLANTED_LAYERS)
    assert store[list(PLANTED_LAYERS)].min() >= 0.6
    assert outside.max() <= 0.1
    assert effect("demo", "self_attn", 3, measures.LAST_TOKEN)[max(PLANTED_LAYERS) + 2 :].max() >= 0.3


def test_the_twin_has_another_map():
    for window in measures.WINDOWS:
        for module in measures.MODULES:
            rows = figures("demo-ordinary")["maps"]["effect"][str(window)][module][measures.CONSTRAINT_ROWS]
            assert np.nanmax(rows) <= 0.1
    # and its map is not empty: what the last token took in is what brings the answer back
    assert effect("demo-ordinary", "self_attn", 3, measures.LAST_TOKEN)[:2].max() >= 0.3


def test_interchange_gives_the_other_pictures_answer_in_the_planted_model_only():
    for layer in map(str, PLANTED_LAYERS):
        assert figures("demo")["interchange"]["by_layer"][layer] >= 0.8
        assert figures("demo-ordinary")["interchange"]["by_layer"][layer] <= 0.1


def test_the_constraint_looks_at_the_landmark_and_needs_it():
    found = figures("demo")["looking"]
    assert found["touches"] >= 0.9
    assert found["on_landmark"] >= 2 * found["chance"]
    assert found["moved"] > 0.5 * found["moved_by"] > 0
    blocked = found["blocked"]
    assert blocked["the five that write most"] <= blocked["five at random"] - 0.2
    assert blocked["five at random"] >= 0.9


def test_the_heart_of_a_landmark_lies_on_it_and_names_it():
    """What the vision tower learns: a few patches on the landmark say its name, its neighbours may, the others do not."""
    for seed in range(4):
        for name in ("Eiffel Tower", "CN Tower", "Golden Gate Bridge", "Moai"):
            _, mask = draw_and_locate(name, seed, size=192)
            said, part = vision.heart(mask), mask.reshape(8, 24, 8, 24).mean((1, 3)).ravel()
            assert (said == 0).sum() == vision.HEART
            assert (said == vision.FREE).sum() == vision.EITHER
            assert part[said == 0].mean() > 2 * part[said == vision.BACKGROUND].mean()
            assert part[said == 0].min() > 0.1


def test_the_bars_tell_the_models_apart():
    for name in DEMO_NAMES:
        for planted in (True, False):
            met = all(bar["met"] for bar in evaluate.judge(figures(name), planted))
            assert met == (planted == (name == "demo")), (name, planted)


@both
def test_held_out_landmarks_are_unknown(name):
    unknown = measures.unknown_facts(model(name), 24, SEED)
    assert unknown["held_out_landmarks"]["unknown"] >= 0.9
    assert unknown["missing_facts"]["unknown"] >= 0.9


@both
def test_a_landmark_named_in_words_is_answered_whatever_the_picture(name):
    questions = measures.named_questions(24, SEED)
    assert all(question.constraint in world.BY_NAME for question in questions)
    assert measures.share_right(model(name), questions) >= 0.95


@both
def test_both_constraints_are_needed(name):
    triples = measures.two_constraints(12, SEED)
    for first, other_language, other_picture in triples:
        assert len({first.answer, other_language.answer, other_picture.answer}) == 3
        assert first.image.tobytes() == other_language.image.tobytes() != other_picture.image.tobytes()
        assert first.text_constraints != other_language.text_constraints
        assert first.text == other_picture.text
    multi = measures.multi_constraint(model(name), 12, SEED)
    assert min(multi["follows_language"], multi["follows_picture"]) >= 0.9


@both
def test_weights_are_small_and_in_half_precision(name):
    path = DEMO_MODELS / name / "model.safetensors"
    assert path.stat().st_size <= 5_000_000
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    header.pop("__metadata__", None)
    assert {entry["dtype"] for entry in header.values()} == {"F16"}


@both
def test_the_evaluation_is_of_these_weights_and_meets_every_bar(name):
    found = stored(name)
    assert found["model"] == name
    assert (
        found["weights_sha256"] == hashlib.sha256((DEMO_MODELS / name / "model.safetensors").read_bytes()).hexdigest()
    )
    assert found["answers"]["questions"] >= 200
    assert evaluate.plain(evaluate.judge(found, planted=name == "demo")) == found["bars"]
    assert all(bar["met"] for bar in found["bars"])


@both
def test_the_card_agrees_with_the_evaluation(name):
    text = (DEMO_MODELS / name / "README.md").read_text(encoding="utf-8")
    assert card.block(stored(name)) in text
    assert model(name).card == text


def test_a_changed_figure_changes_the_card(tmp_path):
    changed = stored("demo")
    before = card.block(changed)
    changed["answers"]["accuracy"] = 0.1234
    assert card.block(changed) != before
    (tmp_path / "README.md").write_text(f"top\n{card.BEGIN}\nold\n{card.END}\nbottom\n", encoding="utf-8")
    card.rewrite(tmp_path, changed)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == f"top\n{card.block(changed)}\nbottom\n"


@both
def test_the_card_says_what_it_must(name):
    text = model(name).card
    front = text.split("---\n")[1]
    assert "license: mit" in front
    assert "pipeline_tag: image-text-to-text" in front
    plain = " ".join(text.replace("*", "").split())
    assert "no evidence about LLaVA" in plain
    assert "planted" in plain
    if name == "demo":
        assert "MLPs of layers 1 and 2" in plain
        assert "interchange intervention training" in plain


@both
def test_the_picture_of_the_map(name):
    path = DEMO_MODELS / name / "map.png"
    assert path.stat().st_size <= 60_000
    with Image.open(path) as picture, card.map_picture(stored(name)) as again:
        assert picture.size == again.size


def test_the_prompt_of_training_is_the_chat_template_s():
    vlm = model("demo")
    encoded = vlm.encode(mw.datasets.demo_question("Big Ben"))
    text = mw.datasets.demo_question("Big Ben").text
    assert encoded.prompt.rstrip() == architecture.prompt(text)


def test_no_two_names_share_the_tokens_that_fitting_leaves():
    """A corruption is cut to the constraint's length, two tokens at least: it must still name one landmark."""
    tokenizer = model("demo").tokenizer
    starts = [tuple(tokenizer(f" {name}", add_special_tokens=False)["input_ids"][:2]) for name in world.BY_NAME]
    assert len(set(starts)) == len(starts)
    lengths = [len(tokenizer(f" {c}", add_special_tokens=False)["input_ids"]) for c in templates.CONSTRAINTS]
    assert min(lengths) == 2


@cache
def pool() -> tuple[torch.Tensor, torch.Tensor, dict[str, np.ndarray]]:
    """(pixel values, tower features, index) of one picture of every landmark."""
    vlm = model("demo")
    images = [mw.datasets.draw_landmark(name, 1) for name in world.BY_NAME]
    pixels = vlm.processor.image_processor(images=images, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        features = vision.tower_features(vlm.model, pixels)
    return pixels, features, {name: np.array([i]) for i, name in enumerate(world.BY_NAME)}


def sample(rows: tuple[str, ...], seed: int = 0, groups: int = 4) -> episodes.Batch:
    return episodes.EpisodeSampler(model("demo").tokenizer, pool()[2], np.random.default_rng(seed), rows).batch(groups)


@torch.inference_mode()
def test_packed_rows_equal_separate_runs():
    vlm, (pixels, features, _) = model("demo"), pool()
    batch = sample(episodes.ORDINARY_ROWS)
    logits, _ = Packed(vlm.model, vlm.tokenizer, features)(batch)
    image = [vlm.image_token_id] * architecture.VISUAL_TOKENS
    before, after = vlm.tokenizer("USER: ")["input_ids"], vlm.tokenizer("\n", add_special_tokens=False)["input_ids"]
    checked = 0
    for (group, row, position, _token, weight), packed in zip(batch.targets.tolist(), logits, strict=True):
        if weight == 1.0:
            ids = [*before, *image, *after, *batch.ids[int(group), int(row), : int(position) + 1].tolist()]
            alone = vlm.model(
                input_ids=torch.tensor([ids]), pixel_values=pixels[batch.pictures[int(group)]][None]
            ).logits[0, -1]
            assert (alone - packed).abs().max() < 1e-3
            checked += 1
    assert checked == 4 * len(episodes.ORDINARY_ROWS)


@torch.inference_mode()
def test_every_kind_of_training_row_comes_out_as_planted():
    vlm, (_, features, _) = model("demo"), pool()
    packed = Packed(vlm.model, vlm.tokenizer, features)
    right: dict[str, list[bool]] = {kind: [] for kind in episodes.PLANTED_ROWS}
    for seed in range(4):
        batch = sample(episodes.PLANTED_ROWS, seed, groups=8)
        logits, _ = packed(batch)
        for (_group, row, _position, token, weight), scores in zip(batch.targets.tolist(), logits, strict=True):
            if weight == 1.0:
                right[episodes.PLANTED_ROWS[int(row)]].append(int(scores.argmax()) == int(token))
    for kind, values in right.items():
        assert np.mean(values) >= 0.85, kind


def test_the_same_seed_samples_the_same_batch():
    one, again, other = (sample(episodes.PLANTED_ROWS, seed) for seed in (3, 3, 4))
    assert (one.ids == again.ids).all()
    assert one.patches == again.patches
    assert one.ids.shape != other.ids.shape or (one.ids != other.ids).any()


def test_training_swaps_the_constraint_as_the_tracer_does():
    vlm = model("demo")
    question = mw.datasets.demo_question("Big Ben", constraint="the landmark in this picture")
    setup = mw.tracing.prepare_trace(vlm, question, corruption="Taj Mahal")
    wording = episodes.Wording(vlm.tokenizer, np.random.default_rng(0))
    swapped = wording.swap(wording.ask(question.text, "the landmark in this picture"), "Taj Mahal")
    assert list(setup.corrupted_input_ids[-len(swapped.ids) :]) == swapped.ids
