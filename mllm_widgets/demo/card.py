"""The part of a demo model's card that holds figures: written from `evaluation.json`, never by hand, so that it cannot go stale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mllm_widgets.render import draw_heatmap, joined

BEGIN = "<!-- figures: written by `python -m mllm_widgets.demo.evaluate`, do not edit -->"
END = "<!-- end of figures -->"
MODULES = {"mlp": "MLP", "self_attn": "self-attention"}
SHOWN = (("mlp", "1"), ("self_attn", "3"))  # the two maps of the picture: (module, window)


def rewrite(folder: Path, figures: dict[str, Any]) -> None:
    """Write the figures into the folder's README.md between the two marks; a folder without a card stays without one."""
    readme = folder / "README.md"
    if readme.exists():
        before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
        readme.write_text(before + block(figures) + rest.split(END)[1], encoding="utf-8")


def block(figures: dict[str, Any]) -> str:
    """The figures as Markdown, with the marks around them."""
    parts = (
        _architecture(figures),
        _bars(figures),
        _answers(figures),
        _interchange(figures),
        _looking(figures),
        _maps(figures),
    )
    return "\n\n".join((BEGIN, *parts, END))


def _table(head: tuple[str, ...], rows: list[tuple]) -> str:
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in (head, ("---",) * len(head), *rows))


def _two(effect: float) -> str:
    return f"{effect:.2f}".replace("-0.00", "0.00")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _architecture(figures: dict[str, Any]) -> str:
    vision, language = figures["architecture"]["vision"], figures["architecture"]["language"]
    return "### Size\n\n" + _table(
        ("part", "size"),
        [
            ("all", f"{figures['architecture']['parameters'] / 1e6:.2f} million parameters"),
            ("vision tower (CLIP)", f"{vision['layers']} layers, width {vision['width']}, {vision['heads']} heads"),
            (
                "picture",
                (
                    f"{vision['picture']} x {vision['picture']} pixels, patches of {vision['patch']} x {vision['patch']}: "
                    f"{vision['visual_tokens']} visual tokens"
                ),
            ),
            (
                "decoder (Llama)",
                (
                    f"{language['layers']} layers (0 to {language['layers'] - 1}), width {language['width']}, "
                    f"{language['heads']} heads, MLPs of {language['mlp']}"
                ),
            ),
            ("vocabulary", f"{language['vocabulary']} tokens; a word of a name or an answer is one, a century two"),
        ],
    )


def _bars(figures: dict[str, Any]) -> str:
    head: tuple[str, ...] = ("what", "bar", "measured", "met")
    rows = [(b["claim"], b["bar"], f"{b['figure']:.3f}", _yes(b)) for b in figures["bars"]]
    note = ""
    if anew := figures.get("retrained"):
        head = (*head, "trained anew", "met")
        rows = [(*row, f"{b['figure']:.3f}", _yes(b)) for row, b in zip(rows, anew["bars"], strict=True)]
        same = "the same bit for bit" if anew["same_weights"] else "not the same bit for bit"
        note = f' "Trained anew" is a second training from the same seed; its weights are {same}.'
    return (
        f"### Measured against its bars\n\n{figures['answers']['questions']} questions, each a rendering and a wording that was "
        f"never trained on, no mask anywhere; maps averaged over {figures['maps']['questions']} of them. "
        f"P(answer) is the probability of the first token of the true answer.{note}\n\n" + _table(head, rows)
    )


def _yes(bar: dict[str, Any]) -> str:
    return "yes" if bar["met"] else "**no**"


def _answers(figures: dict[str, Any]) -> str:
    answers, unknown, multi = figures["answers"], figures["unknown"], figures["multi_constraint"]
    (low, high), (score_low, score_high) = answers["bootstrap_95"], answers["wilson_95"]
    rows = [
        ("all relations", answers["questions"], _percent(answers["accuracy"])),
        *((name, part["questions"], _percent(part["accuracy"])) for name, part in answers["by_relation"].items()),
        ("landmark named in words, another one in the picture", figures["named"]["questions"], _percent(figures["named"]["accuracy"])),
        ("picture and language both needed", multi["questions"], _percent(multi["accuracy"])),
        ("... right before and after the language changes", multi["questions"] // 3, _percent(multi["follows_language"])),
        ("... right before and after the picture changes", multi["questions"] // 3, _percent(multi["follows_picture"])),
        *(
            (f"drawn at {size} x {size} pixels instead of 256 x 256", figures["picture_sizes"]["questions"], _percent(share))
            for size, share in figures["picture_sizes"]["accuracy"].items()
        ),
        ("held-out landmarks: share answered \"unknown\"", unknown["held_out_landmarks"]["questions"], _percent(unknown["held_out_landmarks"]["unknown"])),
        ("facts a known landmark lacks: share answered \"unknown\"", unknown["missing_facts"]["questions"], _percent(unknown["missing_facts"]["unknown"])),
    ]  # fmt: skip
    return (
        f"### Answers\n\nThe greedy answer must be right to its last letter. 95% interval of the first line: {_percent(low)} to "
        f"{_percent(high)} by bootstrap over questions, {_percent(score_low)} to {_percent(score_high)} by Wilson's formula.\n\n"
        + _table(("questions about", "number", "accuracy"), rows)
    )


def _interchange(figures: dict[str, Any]) -> str:
    rows = [(name, _percent(share)) for name, share in figures["interchange"]["by_layer"].items()]
    return (
        f"### Interchange between pictures\n\n{figures['interchange']['pairs']} pairs of pictures asked the same question. The MLP "
        "output at the last constraint token is taken from the run on the other picture; how often does the other picture's answer "
        "come out?\n\n" + _table(("MLP of layer", "other picture's answer"), rows)
    )


def _looking(figures: dict[str, Any]) -> str:
    part = figures["looking"]
    rows = [(way, f"{probability:.3f}") for way, probability in part["blocked"].items()]
    return (
        f"### Where it looks\n\nOf {part['pictures']} fresh pictures: the five patches that write most into the last constraint token, by attention contribution in "
        f"layer {part['layer']}, touch the landmark in {_percent(part['touches'])}, and {_percent(part['on_landmark'])} of these patches lie on it (of all patches "
        f"{_percent(part['chance'])} do). When the landmark alone moves by {part['moved_by']:.2f} patches, the five move by {part['moved']:.2f} in the mean.\n\n"
        "Mean P(answer) when the constraint may not look, at any layer, at\n\n" + _table(("patches", "P(answer)"), rows)
    )


def _maps(figures: dict[str, Any]) -> str:
    maps = figures["maps"]
    text = [
        "### Averaged maps",
        "![Averaged indirect effects: MLP with window 1, self-attention with window 3](map.png)",
        (
            "Mean indirect effect by layer. A row stands for the mean over its tokens: those of the constraint by place, those between "
            "the constraint and the last token of the prompt, and the last token."
        ),
    ]
    for window, effect in maps["effect"].items():
        layers = len(next(iter(effect.values()))[0])
        rows = [
            (MODULES[module], row, *("" if value is None else _two(value) for value in values))
            for module, table in effect.items()
            for row, values in zip(maps["rows"], table, strict=True)
        ]  # fmt: skip
        text.append(f"Window {window}:")
        text.append(_table(("sub-block", "row", *map(str, range(layers))), rows))
    words = maps["by_word"]
    text.append(
        f"Word by word in the longest constraint, over {words['questions']} questions: MLP effects with window 1 in layers "
        f"{' and '.join(words['layers'])}."
    )
    text.append(_table(("layer", *words["words"]), [(k, *map(_two, v)) for k, v in words["layers"].items()]))
    return "\n\n".join(text)


def map_picture(figures: dict[str, Any]) -> Image.Image:
    """The two maps side by side: the MLP's with window 1, self-attention's with window 3."""
    maps = figures["maps"]
    parts = [
        draw_heatmap(
            np.array(maps["effect"][window][module], dtype=float),
            maps["rows"],
            module=module,
            limit=1.0,
            title=f"{figures['model']}: {MODULES[module]}, window {window}",
            subtitle=f"mean over {maps['questions']} questions",
        )
        for module, window in SHOWN
    ]
    return joined(parts).image()
