"""Objects that a notebook displays: tables as Markdown, pictures as PNG."""

import base64
from abc import ABC, abstractmethod
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.report.plots import save


class InMarkdown(ABC):
    """Shown as `_repr_markdown_` says: as text by Python's prompt and print(), as a table by a notebook."""

    @abstractmethod
    def _repr_markdown_(self) -> str: ...

    def __repr__(self) -> str:
        return str(self._repr_markdown_())


class MarkdownTable(InMarkdown, str):
    """A Markdown table."""

    def _repr_markdown_(self) -> str:
        return str.__str__(self)

    __str__ = str.__str__


class Pictures:
    """Figures of matplotlib by caption, which a notebook shows one below the other."""

    def __init__(self, figures: Mapping[str, Figure]):
        self.figures = dict(figures)

    def save(self, path: str | Path) -> Path:
        """Writes the picture as PNG and returns the path.

        Raises:
            Refusal: there are several pictures; each is one of `figures`."""
        if len(self.figures) != 1:
            raise Refusal(f"{path} can hold one picture, and there are {len(self.figures)}; save each of .figures")
        return save(next(iter(self.figures.values())), Path(path))

    def _repr_html_(self) -> str:
        return "\n".join(
            f'<figure><figcaption>{caption}</figcaption><img src="data:image/png;base64,{_png(figure)}"></figure>'
            for caption, figure in self.figures.items()
        )


def _png(figure: Figure) -> str:
    file = BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return base64.b64encode(file.getvalue()).decode()
