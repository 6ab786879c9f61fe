"""Tables of recipe fields, made from the JSON schema of the pydantic models.

``{recipe-fields} SECTION`` draws the table of one section: ``recipe`` for the top level, a section's name
(``distillation``, ``distillation.augmentation``), or section and kind (``prior.dirichlet``).
``{recipe-list}`` draws the table of the built-in recipes, from their YAML files.
``{student-list}`` draws the table of the built-in architectures.
"""

from __future__ import annotations

from typing import Any, ClassVar

from docutils import nodes
from schema_text import default_text, sections, type_text
from sphinx.application import Sphinx
from tables import TableDirective

REQUIREMENTS = {
    "head": "a final fully connected layer",
    "penultimate": "a fully connected layer before the final one",
    "convolution": "a convolution",
    "batch_norm": "batch-normalisation statistics",
    "positions": "images, sequences or volumes",
    "data": "your own samples (`--data`)",
}
"""What a recipe may need, as the table of recipes says it."""


class RecipeFields(TableDirective):
    """Draws the fields of one section."""

    required_arguments = 1
    columns: ClassVar[dict[str, int]] = {"field": 18, "type": 20, "default": 14, "description": 48}

    def run(self) -> list[nodes.Node]:
        from zskd_onnx.config.recipe import Recipe

        schema = Recipe.model_json_schema()
        tables = sections(schema)
        name = self.arguments[0]
        if name not in tables:
            raise self.error(f"recipe-fields: '{name}', expected one of {', '.join(tables)}")
        table = tables[name]
        rows = [
            (
                f"field-{name}-{field}".replace(".", "-").replace("_", "-"),
                (
                    f"`{field}`",
                    type_text(value, schema),
                    default_text(field, value, table.get("required", ()), schema),
                    value.get("description", "")[:1].upper() + value.get("description", "")[1:],
                ),
            )
            for field, value in table["properties"].items()
        ]
        summary = [] if name == "recipe" else self.parse_text_to_nodes(table.get("description", ""))
        return [*summary, self.table(self.columns, rows)]


class RecipeList(TableDirective):
    """Draws the built-in recipes: name, summary, what they need, published source."""

    columns: ClassVar[dict[str, int]] = {"recipe": 18, "what the student learns from": 40, "needs": 22, "source": 20}

    def run(self) -> list[nodes.Node]:
        from zskd_onnx.config.files import recipe_names
        from zskd_onnx.config.load import load_recipe

        rows = []
        for name in recipe_names():
            recipe = load_recipe(name)
            needs = ", ".join(REQUIREMENTS[need] for need in recipe.needs) or "nothing"
            rows.append((None, (f"`{name}`", recipe.summary, needs, recipe.paper or "this project")))
        return [self.table(self.columns, rows)]


class StudentList(TableDirective):
    """Draws the built-in architectures."""

    columns: ClassVar[dict[str, int]] = {"architecture": 25, "description": 75}

    def run(self) -> list[nodes.Node]:
        from zskd_onnx.students.zoo.architecture import FAMILIES, STUDENTS

        rows: list[tuple[str | None, tuple[str, ...]]] = [(None, (f"`{s.name}`", s.summary)) for s in STUDENTS.values()]
        rows += [(None, (f"`{family.pattern}`", family.summary)) for family in FAMILIES.values()]
        return [self.table(self.columns, rows)]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("recipe-fields", RecipeFields)
    app.add_directive("recipe-list", RecipeList)
    app.add_directive("student-list", StudentList)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
