"""Diagrams of the documentation's site, drawn when it is built: the pages then need no other host to be looked at.

Mermaid itself draws them, in an engine of its own (mermaidx). What it cannot draw fails the build.
"""

from hashlib import sha256
from typing import Any

import mermaidx
from pymdownx.superfences import SuperFencesException

# What a diagram has in it besides its marks: Material's own colours, and its text as the page's.
_CONFIG = {"themeVariables": {"fontFamily": "sans-serif"}, "flowchart": {"htmlLabels": False}}


def diagram(source: str, _language: str, _class: str, _options: Any, _markdown: Any, **_more: Any) -> str:
    """A block of Mermaid as SVG."""
    try:
        svg = mermaidx.render(source, theme="neutral", config=_CONFIG).svg()
    except RuntimeError as error:
        raise SuperFencesException(f"a diagram cannot be drawn: {error}\n{source}") from error
    # A page may have several: what is in one is named by its own id.
    name = f"diagram-{sha256(source.encode()).hexdigest()[:12]}"
    return f'<div class="diagram">{svg.replace("my-svg", name)}</div>'
