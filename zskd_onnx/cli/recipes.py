"""``recipes``: list, show and copy the built-in recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zskd_onnx.cli.options import FormatOption
from zskd_onnx.cli.printing import Format, print_json, print_table, reports_errors
from zskd_onnx.config.default import DEFAULT_RECIPE
from zskd_onnx.errors import UsageError

recipes = typer.Typer(no_args_is_help=True, help="List, show and copy the built-in recipes.")


@recipes.command("list")
@reports_errors
def list_(format: FormatOption = Format.TEXT) -> None:
    """The built-in recipes."""
    from zskd_onnx.config.files import read_recipe, recipe_names

    if format == Format.JSON:
        from zskd_onnx.config.recipe import load_recipe

        found = [load_recipe(name) for name in recipe_names()]
        described = [
            {**r.model_dump(mode="json", include={"name", "summary", "paper"}), "requires": list(r.needs)}
            for r in found
        ]
        print_json({"recipes": described, "default": DEFAULT_RECIPE})
    else:
        summaries = {name: read_recipe(name)[0]["summary"] for name in recipe_names()}
        print_table({name: text + " (the default)" * (name == DEFAULT_RECIPE) for name, text in summaries.items()})


@recipes.command("show")
@reports_errors
def show(name: str, format: FormatOption = Format.TEXT) -> None:
    """A recipe with its comments."""
    from zskd_onnx.config.files import recipe_text

    if format == Format.JSON:
        from zskd_onnx.config.recipe import load_recipe

        print_json({"recipe": load_recipe(name).model_dump(mode="json")})
    else:
        print(recipe_text(name), end="")


@recipes.command("copy")
@reports_errors
def copy(
    name: str,
    target: Annotated[Path | None, typer.Argument(help="Default: NAME.yaml here.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    format: FormatOption = Format.TEXT,
) -> None:
    """Copy a recipe to a file of your own."""
    from zskd_onnx.config.files import recipe_text
    from zskd_onnx.system.files import expect_place, write_text

    text, path = recipe_text(name), target or Path(f"{name}.yaml")
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: exists; --overwrite replaces it")
    expect_place(path, "recipes copy")
    write_text(path, text)
    if format == Format.JSON:
        print_json({"path": str(path)})
    else:
        print(path)
