"""Training episodes: questions about two pictures, and the interventions that plant the mechanism.

One episode is a *pair* of pictures A and B of different landmarks asked the same questions.  Every picture (a "group")
carries several rows:

    clean      the question as asked                                       -> A's answer
    corrupted  the constraint's tokens replaced by another name            -> that name's answer
    restored   corrupted, but the MLP output at the last constraint token
               of the planted layer(s) is taken from the clean row         -> A's answer
    swapped    clean, but that MLP output is taken from picture B          -> B's answer
    strict     the same kind of patch anywhere else                        -> nothing changes
    hop        corrupted, the last token's self-attention outputs of the
               middle layers taken from the clean row                      -> A's answer
    named      a question that names a landmark in words                   -> that landmark's answer
    other      a second clean question                                     -> A's answer

The ordinary twin trains on clean, corrupted, named and other alone.  A batch is arrays only; `interchange.py` runs it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from mllm_widgets.datasets import templates, world
from mllm_widgets.tracing.corruption import fit

from .architecture import LAYERS

PLANTED_LAYERS = (1, 2)  # the MLPs that store, at the last constraint token
HOP_LAYERS = (4, 5, 6)  # the self-attention layers through which the last token reads them

PLANTED_ROWS = ("clean", "corrupted", "restored", "swapped", "strict", "hop", "named", "other")
ORDINARY_ROWS = ("clean", "corrupted", "named", "other")


@dataclass
class Patch:
    """Overwrite one sub-block output: `module` at `layer`, of row `target` at `position`, by the one of row `source`.

    Rows are (group, row) indices into the batch; positions count from the row's first text token.
    """

    module: str
    layer: int
    target: tuple[int, int]
    position: int
    source: tuple[int, int]
    source_position: int


@dataclass
class Batch:
    """Token rows of shape (groups, rows, length), one picture per group.

    `constraint_end` (groups, rows) is the last constraint token; `targets` are (group, row, position, token, weight) rows of
    the loss.
    """

    pictures: np.ndarray
    ids: np.ndarray
    constraint_end: np.ndarray
    targets: np.ndarray
    patches: list[Patch] = field(default_factory=list)


@dataclass(frozen=True)
class Asked:
    """A tokenized prompt: ids up to and including the last prompt token, and the constraint's token span."""

    ids: list[int]
    start: int
    end: int  # exclusive


class Row(NamedTuple):
    """A prompt, its answer, and whether every token of the answer is trained or only the first."""

    asked: Asked
    answer: str
    whole: bool


@dataclass(frozen=True)
class Scene:
    """One picture of a pair and what its rows are made of; `group` and `partner` are indices into the batch."""

    group: int
    partner: int
    landmark: world.Landmark
    clean: Asked
    corrupted: Asked
    answer: str
    corrupted_answer: str
    partner_answer: str


class Wording:
    """Draws and tokenizes questions; `held_out=True` uses only the templates never trained on."""

    def __init__(self, tokenizer: Any, rng: np.random.Generator, held_out: bool = False):
        self.tokenizer, self.rng = tokenizer, rng
        self.templates = templates.HELD_OUT_TEMPLATES if held_out else templates.TEMPLATES
        self.filler_rate = 0.15

    def choose(self, items):
        """One of `items`, at random."""
        return items[int(self.rng.integers(len(items)))]

    def text(self, relation: str, subject: str) -> tuple[str, str]:
        """(question, its constraint as it stands there)."""
        question = templates.fill(self.choose(self.templates[relation]), subject)
        subject = subject if subject in question else subject[0].upper() + subject[1:]
        fillers = []
        while self.rng.random() < self.filler_rate and len(fillers) < 4:
            fillers.append(self.choose(templates.FILLERS))
        return " ".join([*fillers, question]), subject

    def ask(self, question: str, subject: str) -> Asked:
        """The tokenized prompt of a question, with the tokens of `subject` in it."""
        encoded = self.tokenizer(question + " ASSISTANT:", add_special_tokens=False, return_offsets_mapping=True)
        begin = question.rindex(subject)
        inside = [i for i, (a, b) in enumerate(encoded["offset_mapping"]) if b > begin and a < begin + len(subject)]
        return Asked(encoded["input_ids"], inside[0], inside[-1] + 1)

    def swap(self, asked: Asked, replacement: str) -> Asked:
        """The corrupted prompt: the constraint's token ids replaced by those of another phrase."""
        opens_text = asked.start == 0
        tokens = self.tokenizer(("" if opens_text else " ") + replacement, add_special_tokens=False)["input_ids"]
        fitted, _ = fit(tokens, asked.end - asked.start)
        return Asked(asked.ids[: asked.start] + fitted + asked.ids[asked.end :], asked.start, asked.end)

    def answer(self, text: str) -> list[int]:
        """The tokens of an answer and its end."""
        return [
            *self.tokenizer(" " + text, add_special_tokens=False)["input_ids"],
            self.tokenizer.eos_token_id,
        ]


class EpisodeSampler:
    """Makes batches; deterministic given the generator.

    Parameters
    ----------
    pictures: for every landmark name, the indices of its renderings in the picture pool.
    rows: which kinds of rows every group carries (`PLANTED_ROWS` or `ORDINARY_ROWS`).
    """

    def __init__(
        self,
        tokenizer,
        pictures: dict[str, np.ndarray],
        rng: np.random.Generator,
        rows=PLANTED_ROWS,
        **wording,
    ):
        self.rng, self.pictures, self.rows = rng, pictures, rows
        self.wording = Wording(tokenizer, rng, **wording)
        self.pad = tokenizer.pad_token_id

    def batch(self, groups: int) -> Batch:
        """A batch of `groups` pictures (an even number, they come in pairs)."""
        assert groups % 2 == 0, "groups come in pairs"
        rows: list[list[Row]] = []
        landmarks, patches = [], []
        for pair in range(groups // 2):
            pair_landmarks, pair_rows, pair_patches = self._pair(2 * pair)
            landmarks += pair_landmarks
            rows += pair_rows
            patches += pair_patches
        return self._pack(landmarks, rows, patches)

    def _differing(self, pool, relation: str, answer: str):
        """A member of `pool` whose answer differs, if a few draws find one."""
        candidate = self.wording.choose(pool)
        for _ in range(8):
            candidate = self.wording.choose(pool)
            if candidate.answer(relation) != answer:
                break
        return candidate

    def _known(self):
        return self.wording.choose(world.KNOWN if self.rng.random() < 0.92 else world.HELD_OUT)

    def _answer(self, landmark: world.Landmark, relation: str) -> str:
        return world.UNKNOWN if landmark.held_out else landmark.answer(relation)

    def _pair(self, group: int):
        """(landmarks, rows, patches) of two pictures of different landmarks asked the same question."""
        w = self.wording
        relation = w.choose(world.RELATIONS)
        first = self._known()
        second = self._differing(world.KNOWN, relation, self._answer(first, relation))
        clean = w.ask(*w.text(relation, w.choose(templates.CONSTRAINTS)))
        rows, patches = [], []
        for here, partner, own, other in ((group, group + 1, first, second), (group + 1, group, second, first)):
            answer = self._answer(own, relation)
            name, named_answer = self._replacement(relation, answer)
            scene = Scene(
                group=here,
                partner=partner,
                landmark=own,
                clean=clean,
                corrupted=w.swap(clean, name),
                answer=answer,
                corrupted_answer=named_answer,
                partner_answer=self._answer(other, relation),
            )
            made = []
            for kind in self.rows:
                row, its_patches = getattr(self, f"_{kind}")(scene, (here, len(made)))
                made.append(row)
                patches += its_patches
            rows.append(made)
        return [first, second], rows, patches

    def _replacement(self, relation: str, answer: str) -> tuple[str, str]:
        """What takes the constraint's place, and the answer then: a stranger's name, or another landmark's."""
        if self.rng.random() < 0.15:
            return self.wording.choose(templates.STRANGERS), world.UNKNOWN
        pool = world.WORLD if self.rng.random() < 0.3 else world.KNOWN
        other = self._differing(pool, relation, answer)
        return other.name, self._answer(other, relation)

    # One method for each kind of row: (row, patches).  `at` is the row's own (group, row) index; row 0 of a group is clean.

    def _clean(self, scene: Scene, _at: tuple[int, int]) -> tuple[Row, list[Patch]]:
        return Row(scene.clean, scene.answer, True), []

    def _corrupted(self, scene: Scene, _at: tuple[int, int]) -> tuple[Row, list[Patch]]:
        return Row(scene.corrupted, scene.corrupted_answer, True), []

    def _restored(self, scene: Scene, at: tuple[int, int]) -> tuple[Row, list[Patch]]:
        return Row(scene.corrupted, scene.answer, False), self._planted(scene, at, scene.group)

    def _swapped(self, scene: Scene, at: tuple[int, int]) -> tuple[Row, list[Patch]]:
        return Row(scene.clean, scene.partner_answer, False), self._planted(scene, at, scene.partner)

    def _planted(self, scene: Scene, at: tuple[int, int], source: int) -> list[Patch]:
        end = scene.clean.end - 1
        return [Patch("mlp", layer, at, end, (source, 0), end) for layer in self._planted_window()]

    def _strict(self, scene: Scene, at: tuple[int, int]) -> tuple[Row, list[Patch]]:
        from_partner = self.rng.random() < 0.3
        module, layer, position = self._elsewhere(scene.clean)
        source = (scene.partner if from_partner else scene.group, 0)
        asked, answer = (scene.clean, scene.answer) if from_partner else (scene.corrupted, scene.corrupted_answer)
        return Row(asked, answer, False), [Patch(module, layer, at, position, source, position)]

    def _hop(self, scene: Scene, at: tuple[int, int]) -> tuple[Row, list[Patch]]:
        last = len(scene.clean.ids) - 1
        patches = [Patch("self_attn", layer, at, last, (scene.group, 0), last) for layer in HOP_LAYERS]
        return Row(scene.corrupted, scene.answer, False), patches

    def _named(self, _scene: Scene, _at: tuple[int, int]) -> tuple[Row, list[Patch]]:
        named, relation = self._known(), self.wording.choose(world.RELATIONS)
        asked = self.wording.ask(*self.wording.text(relation, named.name))
        return Row(asked, self._answer(named, relation), True), []

    def _other(self, scene: Scene, _at: tuple[int, int]) -> tuple[Row, list[Patch]]:
        relation = self.wording.choose(world.RELATIONS)
        asked = self.wording.ask(*self.wording.text(relation, self.wording.choose(templates.CONSTRAINTS)))
        return Row(asked, self._answer(scene.landmark, relation), True), []

    def _planted_window(self) -> tuple[int, ...]:
        """One planted layer, or all of them at once."""
        draw = int(self.rng.integers(len(PLANTED_LAYERS) + 1))
        return PLANTED_LAYERS if draw == len(PLANTED_LAYERS) else (PLANTED_LAYERS[draw],)

    def _elsewhere(self, asked: Asked) -> tuple[str, int, int]:
        """A site outside the planted one and not at the last token: (module, layer, position)."""
        draw, end = self.rng.random(), asked.end - 1
        if draw < 0.6:
            others = [layer for layer in range(LAYERS) if layer not in PLANTED_LAYERS]
            return "mlp", self.wording.choose(others), end
        if draw < 0.8:
            return "self_attn", int(self.rng.integers(LAYERS)), end
        positions = [p for p in range(asked.start, len(asked.ids) - 1) if p != end]
        module = "mlp" if self.rng.random() < 0.5 else "self_attn"
        return module, int(self.rng.integers(LAYERS)), self.wording.choose(positions)

    def _pack(self, landmarks, rows: list[list[Row]], patches) -> Batch:
        answers = [[self.wording.answer(row.answer) for row in group] for group in rows]
        length = max(
            len(row.asked.ids) + len(answers[g][r]) for g, group in enumerate(rows) for r, row in enumerate(group)
        )
        ids = np.full((len(rows), len(rows[0]), length), self.pad, dtype=np.int64)
        constraint_end = np.zeros(ids.shape[:2], dtype=np.int64)
        targets = []
        for g, group in enumerate(rows):
            for r, (asked, _, whole) in enumerate(group):
                tokens, n = answers[g][r], len(asked.ids)
                ids[g, r, :n] = asked.ids
                ids[g, r, n : n + len(tokens)] = tokens
                constraint_end[g, r] = asked.end - 1
                targets.append((g, r, n - 1, tokens[0], 1.0))
                if whole:  # later tokens are easy given the first: a small weight suffices
                    targets += [(g, r, n + i, token, 0.1) for i, token in enumerate(tokens[1:])]
        pictures = np.array([self.wording.choose(self.pictures[landmark.name]) for landmark in landmarks])
        return Batch(pictures, ids, constraint_end, np.array(targets), patches)
