"""``recipes``: list, show, copy, validate and explain recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from zskd_onnx.cli.choices import Format
from zskd_onnx.cli.command import CONTEXT, Command, Group
from zskd_onnx.cli.completion import complete_built_in_recipe, complete_key, complete_recipe
from zskd_onnx.cli.help_page import OUTPUT, TEACHER_INPUT
from zskd_onnx.cli.results import print_json, print_result
from zskd_onnx.cli.shared import Output, TeacherInput, with_shared_options
from zskd_onnx.errors import UsageError
from zskd_onnx.system.files import expect_file

recipes = typer.Typer(cls=Group, context_settings=CONTEXT, invoke_without_command=True, rich_markup_mode=None)

AnyRecipe = Annotated[
    str,
    typer.Argument(metavar="RECIPE", autocompletion=complete_recipe, help="A built-in recipe, or a .yaml file."),
]


@recipes.callback()
def group(context: typer.Context) -> None:
    """List, show, copy, validate and explain recipes.

    Examples:
      zskd-onnx recipes list
      zskd-onnx recipes copy zskd mine.yaml
      zskd-onnx recipes explain distillation.epochs
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@recipes.command("list", cls=Command)
@with_shared_options
def list_(printed: Output) -> None:
    """List the built-in recipes.

    Examples:
      zskd-onnx recipes list
      zskd-onnx recipes list --format json

    Exit codes:
      0  success
    """
    from zskd_onnx.config.files import AS_PUBLISHED, DEFAULT_RECIPE, EVERYDAY, read_recipe, recipe_names

    if printed.format == Format.JSON:
        from zskd_onnx.config.load import load_recipe
        from zskd_onnx.pipeline.choose_recipe import DRAWING_RECIPE, NATURAL_RECIPE

        entries = [
            {
                **recipe.model_dump(mode="json", include={"name", "summary", "paper"}),
                "requires": list(recipe.needs),
                "as_published": package == AS_PUBLISHED,
            }
            for package in (EVERYDAY, AS_PUBLISHED)
            for recipe in map(load_recipe, recipe_names(package))
        ]
        defaults = {"natural_images": NATURAL_RECIPE, "drawings": DRAWING_RECIPE, "other": DEFAULT_RECIPE}
        print_json({"recipes": entries, "defaults": defaults})
        return
    summaries = {name: read_recipe(name)[0]["summary"] for name in recipe_names()}
    rows = {name: text + " (default for other inputs)" * (name == DEFAULT_RECIPE) for name, text in summaries.items()}
    print_result({}, rows, printed.format)
    print("\nWith the settings of their papers, for comparisons; they take hours:")
    published = {name: read_recipe(name)[0]["summary"] for name in recipe_names(AS_PUBLISHED)}
    print_result({}, published, printed.format)


@recipes.command(cls=Command)
@with_shared_options
def show(
    name: AnyRecipe,
    full: Annotated[
        bool, typer.Option("--full", help="Print every field with its value, without comments.", rich_help_panel=OUTPUT)
    ] = False,
    *,
    printed: Output,
) -> None:
    """Print RECIPE with its comments.

    Examples:
      zskd-onnx recipes show best
      zskd-onnx recipes show mine.yaml --full
      zskd-onnx recipes show zskd --format json

    Exit codes:
      0  success
      2  no such recipe, or a faulty one
    """
    from zskd_onnx.config.files import read_recipe, recipe_path, recipe_text

    path = recipe_path(name)
    if full or printed.format == Format.JSON:
        from zskd_onnx.config.load import load_recipe

        recipe = load_recipe(name)
        if printed.format == Format.JSON:
            print_json({"recipe": recipe.model_dump(mode="json")})
        else:
            print(recipe.to_yaml(), end="")
    elif path is not None:
        read_recipe(path)
        print(path.read_text(encoding="utf-8"), end="")
    else:
        print(recipe_text(name), end="")


@recipes.command(cls=Command)
@with_shared_options
def copy(
    name: Annotated[
        str, typer.Argument(metavar="NAME", autocompletion=complete_built_in_recipe, help="A built-in recipe.")
    ],
    target: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The new file (default: NAME.yaml in this folder).")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing file.", rich_help_panel=OUTPUT)
    ] = False,
    *,
    printed: Output,
) -> None:
    """Copy the built-in recipe NAME to a file of your own.

    Examples:
      zskd-onnx recipes copy best
      zskd-onnx recipes copy zskd mine.yaml
      zskd-onnx compress teacher.onnx --recipe mine.yaml

    Exit codes:
      0  success
      2  no such recipe, or the file exists
    """
    from zskd_onnx.config.files import recipe_text
    from zskd_onnx.system.files import expect_parent, write_text

    text, path = recipe_text(name), target or Path(f"{name}.yaml")
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: file exists; use --overwrite to replace it")
    expect_parent(path, "recipes copy")
    write_text(path, text)
    if printed.format == Format.JSON:
        print_json({"path": str(path)})
    else:
        print(path)


@recipes.command(cls=Command)
@with_shared_options
def validate(
    name: AnyRecipe,
    teacher: Annotated[
        Path | None,
        typer.Option(
            metavar="TEACHER.onnx", help="Also check that this teacher suits the recipe.", rich_help_panel=TEACHER_INPUT
        ),
    ] = None,
    *,
    teacher_input: TeacherInput,
    printed: Output,
) -> None:
    """Check RECIPE and report all its faults at once.

    Examples:
      zskd-onnx recipes validate mine.yaml
      zskd-onnx recipes validate mine.yaml --teacher t.onnx

    Exit codes:
      0  the recipe is valid
      2  the recipe has faults
      3  the teacher does not suit the recipe
      4  the import of the teacher differs from onnxruntime
    """
    if teacher is not None:
        expect_file(teacher, "an ONNX model")

    from zskd_onnx.config.load import load_recipe

    recipe = load_recipe(name)
    content: dict[str, Any] = {"recipe": name, "valid": True, "requires": list(recipe.needs)}
    rows = {"recipe": f"{name}: valid", "requires": ", ".join(recipe.needs) or "nothing of the teacher"}
    if teacher is not None:
        from zskd_onnx.pipeline.resolve import check_requirements
        from zskd_onnx.teacher.load import load_teacher

        check_requirements(recipe, load_teacher(teacher, **teacher_input.options()))
        content["teacher"] = {"path": str(teacher), "suits": True}
        rows["teacher"] = f"{teacher}: suits"
    print_result(content, rows, printed.format)


@recipes.command(cls=Command)
def schema() -> None:
    """Print the JSON schema of recipes, with a description of every field.

    Editors with YAML support complete and check recipes with it.

    Examples:
      zskd-onnx recipes schema > recipe.schema.json

    Exit codes:
      0  success
    """
    import json

    from zskd_onnx.config.recipe import Recipe

    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    print(json.dumps(dialect | Recipe.model_json_schema(), indent=2))


@recipes.command(cls=Command)
@with_shared_options
def explain(
    key: Annotated[
        str,
        typer.Argument(metavar="KEY", autocompletion=complete_key, help="A field, such as distillation.epochs."),
    ],
    printed: Output,
) -> None:
    """Explain KEY: description, type, default, and its value in each built-in recipe.

    Examples:
      zskd-onnx recipes explain distillation.epochs
      zskd-onnx recipes explain synthesis

    Exit codes:
      0  success
      2  no such key
    """
    from dataclasses import asdict

    from zskd_onnx.config.content import expect_key

    expect_key(key)  # before the imports, which take seconds

    from zskd_onnx.cli.recipe_keys import values_in_recipes
    from zskd_onnx.config.fields import as_yaml, recipe_fields

    fields = recipe_fields()[key]
    values = values_in_recipes(key)
    rows = {"key": key}
    for field in fields:
        kind = f" ({field.kinds})" if len(fields) > 1 else ""
        rows[f"description{kind}"] = field.description or "-"
        rows[f"type{kind}"] = field.type
        if field.default is not None:
            rows[f"default{kind}"] = field.default
        if field.keys:
            rows[f"keys{kind}"] = ", ".join(field.keys)
    if not fields[0].keys:
        rows |= {f"in {name}": as_yaml(value) for name, value in values.items()}
    print_result({"key": key, "fields": [asdict(field) for field in fields], "recipes": values}, rows, printed.format)
