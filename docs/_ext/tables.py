"""A directive base class that draws tables of Markdown cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from docutils import nodes
from sphinx.util.docutils import SphinxDirective


class TableDirective(SphinxDirective):
    """Draws tables from rows of Markdown text."""

    def table(self, columns: Mapping[str, int], rows: Iterable[tuple[str | None, Iterable[str]]]) -> nodes.table:
        """A table whose cells are Markdown; each row has an id, or None."""
        group = nodes.tgroup(cols=len(columns))
        for width in columns.values():
            group += nodes.colspec(colwidth=width)
        group += nodes.thead("", self._row(columns))
        body = nodes.tbody()
        for name, cells in rows:
            row = self._row(cells)
            if name is not None:
                row["ids"].append(name)
            body += row
        group += body
        return nodes.table("", group, classes=["recipe-fields"])

    def _row(self, cells: Iterable[str]) -> nodes.row:
        return nodes.row("", *(nodes.entry("", *self.parse_text_to_nodes(cell)) for cell in cells))
