"""nbconvert's page of a notebook without what it loads from elsewhere: formulas are set already, and widgets live by our own program.

Needs nbconvert, which comes with JupyterLab, and latex2mathml: `pip install "mllm_widgets[export]"`.  Only export.py imports this module.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import DictLoader, pass_context
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from mllm_widgets.render.page import policy, scripts, style

from .formulas import typeset

STYLE = Path(__file__).parent / "notebook.css"

# The blocks of nbconvert's "lab" template that load something are left empty; what a page of ours has is put where it belongs.  A widget is no
# HTML of the notebook's: the template's looks of tables and lists are not for it.
_TEMPLATE = """
{%- extends 'index.html.j2' -%}
{%- block html_head -%}
<meta http-equiv="Content-Security-Policy" content="{{ resources.mw_policy }}">
{{ super() }}
{%- endblock -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_css -%}<style>{{ resources.mw_style }}</style>{%- endblock -%}
{%- block data_html scoped -%}
{%- if output.metadata.get('mllm_widgets') -%}<div class="jp-OutputArea-output">{{ output.data['text/html'] }}</div>
{%- else -%}{{ super() }}{%- endif -%}
{%- endblock -%}
{%- block footer_js -%}{{ resources.mw_scripts }}{%- endblock -%}
"""


class _Renderer(IPythonRenderer):
    """Markdown with formulas as MathML."""

    def block_math(self, body: str) -> str:
        return typeset(body, display=True)

    def multiline_math(self, text: str) -> str:
        return typeset(text, display=True)

    def latex_environment(self, name: str, body: str) -> str:
        return typeset(rf"\begin{{{name}}}{body}\end{{{name}}}", display=True)

    def inline_math(self, body: str) -> str:
        return typeset(body)


class _Exporter(HTMLExporter):
    """nbconvert's HTML exporter with our template and our Markdown."""

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        attachments = context.get("cell", {}).get("attachments", {})
        folder = context.get("resources", {}).get("metadata", {}).get("path", "")
        renderer = _Renderer(
            escape=False, attachments=attachments, embed_images=True, path=folder, exclude_anchor_links=True
        )
        return MarkdownWithMath(renderer=renderer).render(source)


def notebook_page(notebook: dict[str, Any], models: dict[str, Any], *, title: str, theme: str, folder: str) -> str:
    """A notebook as one page.

    Parameters
    ----------
    notebook: its widgets replaced by mounts. models: those that the mounts need.
    folder: where the notebook lies, for pictures that its text shows.
    """
    titled = {**notebook, "metadata": {**notebook["metadata"], "title": title}}
    node = nbformat.reads(json.dumps(titled), as_version=4)  # which joins the lines that files keep apart
    exporter = _Exporter(extra_loaders=[DictLoader({"mw.html.j2": _TEMPLATE})], template_file="mw.html.j2", theme=theme)
    resources = {
        "metadata": {"name": title, "path": folder},
        "mw_policy": policy(other_scripts=True),
        "mw_style": style() + STYLE.read_text(encoding="utf-8"),
        "mw_scripts": scripts(models),
    }
    return exporter.from_notebook_node(node, resources)[0]
