"""What a token is to its question: the rows of the paper's averaged maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mllm_widgets.tracing.corruption.places import positions_of

if TYPE_CHECKING:
    from mllm_widgets.vlm.model import VLM, Encoding
    from mllm_widgets.vlm.question import Question

FIRST, MIDDLE, LAST_OF_CONSTRAINT = "first constraint", "middle constraint", "last constraint"
TEXT_CONSTRAINT, OTHER, LAST = "text constraint", "other", "last"
VISUAL = "visual"
ROLES = (FIRST, MIDDLE, LAST_OF_CONSTRAINT, TEXT_CONSTRAINT, OTHER, LAST)
NAMES = {
    FIRST: "first constraint token",
    MIDDLE: "middle constraint tokens",
    LAST_OF_CONSTRAINT: "last constraint token",
    TEXT_CONSTRAINT: "text constraint",
    OTHER: "other tokens after the constraint",
    LAST: "last token",
}


def roles_of(vlm: VLM, question: Question, encoded: Encoding) -> dict[int, str]:
    """Position -> role, for every token of the prompt.

    A constraint of one token is its own last one.  `OTHER` is everything else, before the constraint too (where effects are exactly 0).
    """
    roles = {token.position: VISUAL if token.kind == "visual" else OTHER for token in encoded.tokens}
    if question.text_constraints:
        roles.update(dict.fromkeys(positions_of(["text_constraints"], vlm, question, encoded), TEXT_CONSTRAINT))
    constraint = encoded.constraint
    roles.update(dict.fromkeys(constraint, MIDDLE))
    if constraint:
        roles[constraint[0]] = FIRST
        roles[constraint[-1]] = LAST_OF_CONSTRAINT
    roles[encoded.tokens[-1].position] = LAST
    return roles
