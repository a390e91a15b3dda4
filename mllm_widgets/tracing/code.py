"""One cell of a map as a short script, to check or to build on.

The script is plain nnsight on the Hugging Face model: one batch of two rows, clean and corrupted, in one full forward pass with no shared
prefix.  So it is also an independent check of the engine.
"""

from __future__ import annotations

import base64
import io
import re
from typing import Any

from mllm_widgets.errors import TraceError
from mllm_widgets.results import window_layers

_SCRIPT = """\
{imports}

{load}
nn = vlm.nnsight  # the model, wrapped by nnsight
{question}

clean = vlm.encode(question).inputs
corrupted_ids = clean["input_ids"].clone()
corrupted_ids[0, {corrupted}] = torch.tensor({swapped}, device=corrupted_ids.device)  # {phrase!r} ({fitted})
inputs = {{name: torch.cat([value, value]) for name, value in clean.items()}}
inputs["input_ids"] = torch.cat([clean["input_ids"], corrupted_ids])
blocks = [  # window {window} around layer {layer}
{blocks}
]
with torch.inference_mode(), nn.trace(**inputs{remote}):
    for block in blocks:
        output = block.output
        output = output[0] if isinstance(output, tuple) else output
        output[1, {token}] = output[0, {token}]  # restore token {token}, {token_text!r}
    logits = nn.output.logits[:, -1].save()
print(float(logits[1].float().softmax(-1)[{answer_id}]))  # P({answer!r}), restored
"""

_IMPORTS = ("import torch", "import mllm_widgets as mw")
_IMAGE_IMPORTS = ("import base64, io", *_IMPORTS, "from PIL import Image")


def cell_code(trace: Any, layer: int, token: int, module: str) -> str:
    """The script of `Trace.to_code`.

    Raises
    ------
    TraceError: if the cell is not in the map, or the runs behind it are gone.
    """
    setup = trace.setup
    if setup is None:
        raise TraceError(
            "this trace has lost the runs it came from (it was loaded, or copied), so it cannot write code; trace again."
        )
    if (trace.corrupted_input_ids == trace.input_ids).all():
        raise TraceError(
            f"this trace's corruption is {trace.corruption!r}, which is no short script; to_code writes token swaps. Trace with "
            "corruption='Taj Mahal' to get one."
        )
    if trace.score != "probability" or len(trace.scored) > 1 or trace.sever is not None:
        raise TraceError(
            "to_code writes the probability of one answer token, with nothing severed; this trace has "
            f"score={trace.score!r} of {len(trace.scored)} tokens and sever={trace.sever!r}. Trace without them to get a script."
        )
    if trace.control is not None:
        raise TraceError(
            f"this trace is a control ({trace.control}), which to_code does not write; trace without control= to get a script."
        )
    if module not in trace.modules:
        raise TraceError(f"module={module!r} is not in this trace; it has {trace.modules}.")
    if not 0 <= layer < trace.layers:
        raise TraceError(f"layer={layer} is outside 0 to {trace.layers - 1}; layers are counted from 0.")
    if token not in trace.restored.token.values:
        first, last = int(trace.restored.token[0]), int(trace.restored.token[-1])
        what = (
            "that of a visual token, which is not traced by itself"
            if token in _visual(trace)
            else "not the position of a text token"
        )
        raise TraceError(
            f"token={token} is {what}; trace.restored.token has positions of text tokens from {first} to {last}."
        )
    picture = setup.question.image
    sites = [setup.vlm.site(each, module) for each in window_layers(layer, trace.window, trace.layers)]
    return _SCRIPT.format(
        imports="\n".join(_IMPORTS if picture is None else _IMAGE_IMPORTS),
        load=load_line(trace.model, setup.vlm),
        question=_question(picture, setup.question.text),
        corrupted=list(trace.corrupted_positions),
        swapped=[int(trace.corrupted_input_ids[p]) for p in trace.corrupted_positions],
        phrase=trace.corruption,
        fitted=trace.fitted,
        blocks="\n".join(f"    nn.{_indexed(site)}," for site in sites),
        window=trace.window,
        layer=layer,
        token=token,
        token_text=trace.token_text(token),
        answer_id=setup.answer_id,
        answer=trace.answer_token,
        remote=_remote(setup.vlm),
    )


def _visual(trace: Any) -> set[int]:
    """Sequence positions of the visual tokens."""
    return {p for row in trace.rows if row.kind == "visual" for p in range(row.position, row.position + row.count)}


def _question(picture: Any, text: str) -> str:
    """Lines that ask the question again, with its picture in them if it has one."""
    if picture is None:
        return f"question = mw.Question(None, {text!r})"
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'image = Image.open(io.BytesIO(base64.b64decode("{data}")))\nquestion = mw.Question(image, {text!r})'


def _indexed(path: str) -> str:
    """A dotted path as Python writes it: "layers.3.mlp" is "layers[3].mlp"."""
    return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", path)


def _remote(vlm: Any) -> str:
    """The argument that sends a model's runs to where they were made; empty where that is here."""
    return "" if vlm.remote is None else f", remote={vlm.remote.where!r}"


def load_line(name: str, vlm: Any) -> str:
    """The line that loads the traced model again, with the template and dtype it was traced with."""
    options = ("" if vlm.template is None else f", template={vlm.template!r}") + _remote(vlm)
    kind = "tokenizer" if vlm.processor is vlm.tokenizer else "processor"
    if not (name in ("demo", "demo-ordinary") or "/" in name):
        return f"# `vlm` is the model you traced: vlm = mw.load(model, {kind}{options})"
    dtype = str(vlm.model.dtype).removeprefix("torch.")
    return f"vlm = mw.load({name!r}, dtype={dtype!r}{options})"
