"""The documentation: complete, consistent with the program, and with examples that run. Sphinx is not needed."""

from __future__ import annotations

import doctest
import functools
import re
import shlex
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import typer.main

import zskd_onnx
from tests.conftest import ROOT, SMALL
from zskd_onnx.cli.app import app
from zskd_onnx.config.files import recipe_names
from zskd_onnx.config.recipe import Recipe

PACKAGE = ROOT / "zskd_onnx"
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
README = (ROOT / "README.md").read_text(encoding="utf-8")
API = (DOCS / "python-api.md").read_text(encoding="utf-8")

FENCE = re.compile(r"^(`{3,})([^\n`]*)\n(.*?)^\1$", flags=re.M | re.S)
INSTALL = ["pip install . && zskd-onnx demo\n", "pip install -e '.[test]' && pytest\n"]


def blocks(text: str, *languages: str) -> list[str]:
    """The fenced blocks of some languages."""
    return [content for _, language, content in FENCE.findall(text) if language in languages]


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", text)


def slug(heading: str) -> str:
    """The anchor of a heading, as MyST and GitHub make it."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    return {slug(line) for line in re.findall(r"^#+ (.+)$", prose(text), flags=re.M)} | set(
        re.findall(r"^\(([\w-]+)\)=$", text, flags=re.M)
    )


def test_every_public_name_is_on_the_api_page() -> None:
    documented = re.findall(r"^\.\. auto\w+:: zskd_onnx\.(\w+)$", API, flags=re.M)
    assert sorted(documented) == sorted(set(zskd_onnx.__all__) - {"__version__"})


def test_every_recipe_field_has_a_description() -> None:
    schema = Recipe.model_json_schema()
    fields = [
        (name, field) for part in (schema, *schema["$defs"].values()) for name, field in part["properties"].items()
    ]
    assert [name for name, field in fields if name != "kind" and not field.get("description")] == []


def test_the_field_reference_has_every_section(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    from schema_text import sections

    page = (DOCS / "recipe-fields.md").read_text(encoding="utf-8")
    drawn = re.findall(r"^```\{recipe-fields\} (\S+)$", page, flags=re.M)
    assert sorted(drawn) == sorted(sections(Recipe.model_json_schema()))


def test_the_guide_and_the_readme_have_every_recipe() -> None:
    guide = (DOCS / "recipes.md").read_text(encoding="utf-8")
    for name in recipe_names():
        assert f"\n### {name}\n" in guide
        assert f"`{name}`" in README


def test_the_readme_is_short() -> None:
    assert len(README.split()) < 800
    for paragraph in prose(README).split("\n\n"):
        if not paragraph.lstrip().startswith(("#", "|", "*", "-", "!")):
            assert len(re.findall(r"[.!?](?=[\s*]|$)", paragraph)) <= 3, paragraph


def test_the_readme_starts_with_the_two_set_up_commands() -> None:
    assert blocks(README, "bash") == INSTALL


def test_the_readme_reads_well_on_a_package_index() -> None:
    """Relative links lead nowhere there; the picture has a text instead."""
    links = re.findall(r"(!?)\[([^\]]*)\]\(([^)]+)\)", prose(README))
    relative = [target for _, _, target in links if not target.startswith(("http", "#"))]
    assert relative == ["docs/impressions.png"]
    assert all(text for mark, text, _ in links if mark)
    mentioned = re.findall(r"`((?:docs|adapters)/[\w./-]*|[A-Z]+\.(?:md|cff))`", README)
    assert mentioned
    assert all((ROOT / name).exists() for name in mentioned)


def test_the_readmes_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = blocks(README, "python")
    monkeypatch.chdir(tmp_path)
    _lay_out(tmp_path)
    monkeypatch.setattr(zskd_onnx, "compress", functools.partial(zskd_onnx.compress, overrides=SMALL), raising=False)
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "out" / "student.onnx").is_file()


def test_the_examples_of_the_api_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _lay_out(tmp_path)
    for name, shorter in (("estimate", {"seconds": 0.3}), ("verify", {"isolate": False})):
        monkeypatch.setattr(zskd_onnx, name, functools.partial(getattr(zskd_onnx, name), **shorter), raising=False)
    examples = doctest.DocTestParser().get_doctest("\n".join(blocks(API, "pycon")), {}, "python-api.md", None, 0)
    assert examples.examples
    report: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples, out=report.append)
    assert result.failed == 0, "".join(report)


def _lay_out(folder: Path) -> None:
    """The files that examples name."""
    assets = ROOT / "zskd_onnx" / "assets"
    (folder / "teacher.onnx").write_bytes((assets / "digits_teacher.onnx").read_bytes())
    (folder / "digits.npz").write_bytes((assets / "digits_test.npz").read_bytes())


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda path: path.name)
def test_links_between_pages_resolve(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        assert other.exists(), target
        if anchor and other.suffix == ".md":
            assert anchor in anchors(other.read_text(encoding="utf-8")), target


def test_every_page_is_in_a_table_of_contents() -> None:
    listed = {DOCS / "index.md"}
    for page in PAGES:
        for content in blocks(page.read_text(encoding="utf-8"), "{toctree}"):
            for entry in content.splitlines():
                if entry and not entry.startswith(":"):
                    listed |= set(page.parent.glob(f"{entry}.md" if "*" not in entry else entry))
    assert set(PAGES) == listed


def _commands() -> Iterator[tuple[str, list[str]]]:
    """Each command line of the documentation: its page, and its words."""
    for page in (ROOT / "README.md", *PAGES):
        for block in blocks(page.read_text(encoding="utf-8"), "bash", "sh"):
            if "zskd-onnx" not in block or page.is_relative_to(DOCS / "decisions") or page.name == "results.md":
                continue
            words = shlex.split(block.replace("\n", " ; ").replace("\\ ; ", " "), comments=False)
            for is_end, part in groupby(words, key=lambda word: word in (";", "&&", "|", ">") or word.startswith("#")):
                command = list(part)
                if not is_end and command[0] == "zskd-onnx":
                    yield page.name, command[1:]


@pytest.mark.parametrize(("page", "words"), list(_commands()), ids=lambda value: None)
def test_commands_of_the_documentation_can_be_parsed(page: str, words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    command.make_parser(command.context_class(command, info_name=page)).parse_args(words)


def test_the_version_is_the_same_everywhere() -> None:
    version = zskd_onnx.__version__
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.M)[1] == version  # type: ignore[index]


def test_the_security_page_quotes_messages_of_the_files_that_it_names() -> None:
    page = (DOCS / "security.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|.*\| (`[\w/.]+\.py`.*) \| (.+) \|$", page, flags=re.M)
    assert len(rows) > 30
    for files, message in rows:
        texts = []
        for name in re.findall(r"`([\w/.]+\.py)`", files):
            paths = [PACKAGE / "importer" / name, PACKAGE / name]
            texts += [path.read_text(encoding="utf-8") for path in paths if path.is_file()]
        assert len(texts) == files.count(".py`"), files
        for phrase in re.findall(r"`([^`]+)`", message):
            assert any(phrase in text for text in texts), f"{phrase} in {files}"
