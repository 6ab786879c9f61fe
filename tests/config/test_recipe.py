"""Recipes as data."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from onnx import helper

from tests.conftest import SaveModel
from zskd_onnx import Recipe, RecipeError, UnsupportedTeacherError, load_recipe, load_teacher
from zskd_onnx.config.files import SIZE_LIMIT, all_recipe_names, recipe_text
from zskd_onnx.pipeline.resolve import check_requirements
from zskd_onnx.priors.dirichlet import Dirichlet
from zskd_onnx.system import devices
from zskd_onnx.teacher.teacher import Teacher


def test_every_built_in_recipe_loads_and_is_described() -> None:
    assert "zskd" in all_recipe_names()
    for name in all_recipe_names():
        recipe = load_recipe(name)
        assert recipe.name == name
        assert recipe.summary


def test_a_built_in_recipe_is_what_it_says() -> None:
    """Each value of the file is the one in force, and the recipe with every field is the same recipe."""

    def within(written: object, whole: object, where: str) -> None:
        if isinstance(written, dict) and isinstance(whole, dict):
            for key, value in written.items():
                within(value, whole[key], f"{where}.{key}")
        else:
            assert written == whole, where

    for name in all_recipe_names():
        recipe = load_recipe(name)
        within(yaml.safe_load(recipe_text(name)), yaml.safe_load(recipe.to_yaml()), name)
        assert type(recipe).model_validate(yaml.safe_load(recipe.to_yaml())) == recipe


@pytest.mark.parametrize(
    ("name", "changes", "needs"),
    [
        ("zskd", [], {"head": "prior.similarity"}),
        ("zskd", ["prior.similarity=false"], {}),
        ("zskd-uniform", [], {}),
        ("zskd-uniform", ["prior.similarity=true"], {"head": "prior.similarity"}),
        ("zskd-uniform", ["requires=[penultimate]"], {"penultimate": "requires"}),
        (
            "mvn",
            [],
            {"head": "prior.layer", "penultimate": "prior.layer", "convolution": "synthesis.activation"},
        ),
        ("mvn", ["prior.layer=softmax", "synthesis.activation=0"], {"head": "prior.layer"}),
        ("mvn-softmax", [], {"head": "prior.layer"}),
        ("class-impressions", ["prior={kind: normal, layer: softmax}"], {"head": "prior.layer"}),
        ("noise", [], {}),
        ("deep-inversion", [], {"batch_norm": "synthesis.kind"}),
        ("dafl", [], {"head": "generator.activation"}),
        ("dafl", ["generator.activation=0"], {}),
        ("abm", [], {}),
        ("kd", [], {"data": "requires"}),
        ("procedural", [], {"positions": "procedural"}),
    ],
)
def test_needs_follow_from_the_sections_as_they_are(name: str, changes: list[str], needs: dict[str, str]) -> None:
    assert load_recipe(name, changes).needs == needs


@pytest.fixture
def headless(save_model: SaveModel) -> Teacher:
    return load_teacher(save_model([helper.make_node("Relu", ["x"], ["y"])], ["N", 5], ["N", 5]))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("zskd-uniform", "prior.similarity=true", r"a final fully connected layer.* change prior\.similarity"),
        (
            "class-impressions",
            "prior={kind: normal, layer: softmax}",
            r"a final fully connected layer.*prior\.layer",
        ),
        ("zskd-uniform", "requires=[batch_norm]", r"batch-normalisation statistics.* change requires,"),
        ("zskd-uniform", "synthesis.activation=0.1", r"a convolution.* change synthesis\.activation"),
    ],
)
def test_a_teacher_that_lacks_what_an_override_asks_for(
    headless: Teacher, name: str, change: str, message: str
) -> None:
    check_requirements(load_recipe(name), headless)
    with pytest.raises(UnsupportedTeacherError, match=message):
        check_requirements(load_recipe(name, [change]), headless)


def test_a_teacher_that_lacks_what_an_override_leaves_out(save_model: SaveModel, tmp_path: Path) -> None:
    """One fully connected layer is enough for mvn at the softmax, by the short recipe and by the one written out."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    teacher = load_teacher(save_model(nodes, ["N", 4], ["N", 6], {"w": torch.randn(4, 6)}))
    path = tmp_path / "mine.yaml"
    path.write_text(load_recipe("mvn").to_yaml())
    for recipe in ("mvn", path):
        with pytest.raises(UnsupportedTeacherError, match=r"before the final one.* change prior\.layer"):
            check_requirements(load_recipe(recipe), teacher)
        check_requirements(load_recipe(recipe, ["prior.layer=softmax", "synthesis.activation=0"]), teacher)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["prior=null"], "needs a prior"),
        (["synthesis=null", "procedural=null"], "expected a section synthesis"),
        (["prior={kind: normal, temperature: 5}"], r"prior\.temperature and synthesis\.temperature"),
        (
            [
                "synthesis=null",
                "generator={kind: adversarial}",
                "distillation.epoch_samples=1000",
                "distillation.patience=2",
            ],
            "patience",
        ),
        (["synthesis=null", "generator={kind: adversarial}"], r"distillation\.epoch_samples is missing"),
        (
            [
                "synthesis=null",
                "generator={kind: adversarial}",
                "distillation.epoch_samples=1000",
                "fine_tuning.epoch_samples=null",
            ],
            r"fine_tuning\.epoch_samples is missing",
        ),
        (
            [
                "synthesis=null",
                "generator={kind: adversarial}",
                "distillation.epoch_samples=1000",
                "fine_tuning.patience=2",
            ],
            r"fine_tuning\.patience",
        ),
    ],
)
def test_a_recipe_says_where_samples_come_from(change: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("zskd", change)


def test_the_papers_settings() -> None:
    """A prior that says nothing but its kind is the paper's; the recipe has softer targets."""
    recipe = load_recipe("zskd")
    assert recipe.synthesis.temperature == 20
    assert recipe.prior == Dirichlet(beta=(4.0,), floor=0.25)
    assert load_recipe("zskd", ["prior={kind: dirichlet}"]).prior == Dirichlet(beta=(1.0, 0.1), floor=1e-4)


def test_yaml_there_and_back(tmp_path: Path) -> None:
    recipe = load_recipe("zskd", ["seed=7", "synthesis.resolution=[0.5]", "prior.beta=[2, 1e-1]"])
    path = tmp_path / "mine.yaml"
    path.write_text(recipe.to_yaml())
    assert load_recipe(path) == recipe


def test_fine_tuning_is_as_distillation_but_for_what_it_says(tmp_path: Path) -> None:
    changes = ["fine_tuning.learning_rate=1e-3", "fine_tuning.augmentation.fraction=0.5"]
    recipe = load_recipe("zskd", ["distillation.epochs=9", *changes])
    as_it_is = recipe.distillation
    augmentation = as_it_is.augmentation.model_copy(update={"fraction": 0.5})
    assert recipe.fine_tuning == as_it_is.model_copy(update={"learning_rate": 1e-3, "augmentation": augmentation})
    assert as_it_is.epochs == 9
    path = tmp_path / "mine.yaml"
    path.write_text(recipe.to_yaml())
    assert load_recipe(path) == recipe
    assert load_recipe("zskd").fine_tuning is None
    second = load_recipe("best", ["distillation.patience=3", "fine_tuning={}"]).fine_tuning
    assert (second.loss_weights.features, second.patience) == (0.0, None)
    assert Recipe.model_validate(
        {**recipe.model_dump(), "distillation": as_it_is, "fine_tuning": {"epochs": 3}}
    ).fine_tuning == (as_it_is.model_copy(update={"epochs": 3}))
    with pytest.raises(RecipeError) as faults:
        load_recipe("zskd", ["distillation.lr=3", "fine_tuning={}"])
    assert str(faults.value).count("unknown key") == 1


def test_targets_are_drawn_at_the_temperature_of_the_synthesis() -> None:
    assert load_recipe("mvn", ["synthesis.temperature=4"]).prior.temperature == 4
    assert load_recipe("mvn").prior.temperature == 20


def test_overrides() -> None:
    recipe = load_recipe("zskd", ["distillation.epochs=50", "distillation.augmentation.scale=[0.9, 1]", "seed=3"])
    assert recipe.distillation.epochs == 50
    assert recipe.distillation.augmentation.scale == (0.9, 1.0)
    assert recipe.seed == 3


def test_a_section_that_is_written_as_null_is_empty(tmp_path: Path) -> None:
    """A recipe with every field written out takes the overrides that the short one takes."""
    path = tmp_path / "mine.yaml"
    path.write_text(load_recipe("abm").to_yaml())
    tuning = ["fine_tuning.epochs=1", "fine_tuning.epoch_samples=1280"]
    noise = ["synthesis.kind=noise", "synthesis.count=300", "distillation.mixture.generator=1"]
    assert load_recipe(path, [*tuning, *noise]) == load_recipe("abm", [*tuning, *noise])
    with pytest.raises(RecipeError, match="prior"):
        load_recipe(path, ["prior.layer=softmax"])


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("distillation.epochs=many", "distillation.epochs"),
        ("distillation.epochs=0", "distillation.epochs"),
        ("distillation.epochs=1.5", "distillation.epochs"),
        ("distillation.learning_rate=.nan", "distillation.learning_rate"),
        ("distillation.learning_rate=.inf", "distillation.learning_rate"),
        ("distillation.epoch=5", "distillation.epoch: unknown key"),
        ("distillation=5", "distillation"),
        ("name.x=5", "'name' is a value"),
        ("epochs", "expected key=value"),
        ("=5", "expected key=value"),
        ("a..b=5", "expected key=value"),
        ("seed=[", "not YAML"),
        ("seed=2024-13-45", "not YAML"),
        ("distillation={epochs: 1, epochs: 2}", "'epochs' is repeated"),
        ("seed=!!python/object/apply:os.system ['true']", "not YAML"),
        ("student=my.module:factory", "cannot name a module"),
        ("student=./mine.py", "cannot name a module"),
        ("student=small.onnx", "cannot name a file"),
        ("prior.kind=cauchy", "prior"),
    ],
)
def test_an_override_that_does_not_fit(override: str, named: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("zskd", [override])
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_faults_at_once(tmp_path: Path) -> None:
    content = yaml.safe_load(recipe_text("zskd"))
    content["colour"] = "red"
    content["synthesis"]["iteration"] = 3
    content["distillation"]["augmentation"]["tilt"] = 1
    content["distillation"]["epochs"] = "many"
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    message = str(caught.value)
    for key in ("colour: unknown key", "synthesis.iteration: unknown key", "augmentation.tilt: unknown key", "epochs"):
        assert key in message
    assert str(path) in message
    assert "\n" not in message


def test_a_misspelt_recipe() -> None:
    with pytest.raises(RecipeError, match="did you mean 'zskd'"):
        load_recipe("zksd")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("- 1\n- 2\n", "mapping"),
        ("", "mapping"),
        ("a: [", "not YAML"),
        ("name: !!python/object/apply:os.system ['touch pwned']\n", "not YAML"),
        ("name: !!python/name:os.system\n", "not YAML"),
        ("[" * 5000, "not YAML"),
        ("seed: 2024-13-45\n", "not YAML"),
        ("seed: !!bool maybe\n", "not YAML"),
        ("seed: !!int ''\n", "not YAML"),
        ("seed: !!timestamp today\n", "not YAML"),
        ("1: 2\n", "unknown key|should be"),
        ("a: &a {b: *a}\n", "unknown key|not YAML"),
        (
            "seed: 1\nprior: {beta: [1], kind: dirichlet, beta: [2]}\nseed: 2\n",
            "'seed' is repeated in line 3",
        ),
    ],
)
def test_files_that_are_no_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, match: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("mine.yaml")
    path.write_text(content)
    with pytest.raises(RecipeError, match=match) as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)
    assert not Path("pwned").exists()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such file"):
        load_recipe(tmp_path / "none.yaml")
    folder = tmp_path / "folder.yaml"
    folder.mkdir()
    with pytest.raises(RecipeError, match="not a regular file"):
        load_recipe(folder)
    path = tmp_path / "bytes.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="not UTF-8"):
        load_recipe(path)
    path.write_text("#" * (SIZE_LIMIT + 1))
    with pytest.raises(RecipeError, match="not a recipe"):
        load_recipe(path)


def test_a_recipe_is_immutable() -> None:
    recipe = load_recipe("zskd")
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 3  # type: ignore[misc]


def test_vectors_take_smaller_batches() -> None:
    distillation = load_recipe("zskd").distillation
    assert distillation.for_shape((1, 8, 8)) == distillation
    assert distillation.for_shape((64,)).batch_size == 64
    one_size = load_recipe("zskd", ["distillation.vector_batch_size=null"]).distillation
    assert one_size.for_shape((64,)).batch_size == 128


def test_synthesis_fits_the_device(digits: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    def batch_size(*overrides: str) -> int:
        synthesis = load_recipe("zskd", ["distillation.epochs=1", *overrides]).synthesis
        assert synthesis is not None
        return synthesis.fitted(digits, torch.device("cpu")).effective_batch_size

    assert batch_size() == 100
    assert batch_size("synthesis.batch_size=7") == 7
    monkeypatch.setattr(devices, "CPU_MEMORY", 12 * 8 * digits.cost.activations)
    assert batch_size() == 12
    monkeypatch.setattr(devices, "CPU_MEMORY", 1)
    assert batch_size() == 1


NEEDS = {
    "head": "a final fully connected layer",
    "penultimate": "a fully connected layer before the final one",
    "convolution": "a convolution",
    "batch_norm": "batch-normalisation statistics",
    "positions": "images, sequences or volumes",
    "data": "real samples",
}
"""Requirement -> the words of the recipe files."""


@pytest.mark.parametrize("name", all_recipe_names())
def test_a_recipes_file_says_what_it_needs(name: str) -> None:
    needs = set(load_recipe(name).needs)
    if "penultimate" in needs:
        needs.remove("head")  # there is one behind it
    [comment] = [line for line in recipe_text(name).splitlines() if line.startswith("#") and "Needs " in line]
    assert needs == {need for need, words in NEEDS.items() if words in comment and "nothing" not in comment}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        # Supplement of ZSKD, section 1, 40 % of MNIST.
        ("zskd-2019", {"synthesis": {"count": 24000, "batch_size": 100, "iterations": 1500, "learning_rate": 3.0}}),
        ("zskd-2019", {"distillation": {"epochs": 2000, "batch_size": 512, "learning_rate": 0.01, "temperature": 20}}),
        # Wang 2021, section 4.1.
        (
            "mvn-2021",
            {"synthesis": {"batch_size": 100, "iterations": 1500, "learning_rate": 0.001, "activation": 0.05}},
        ),
        ("mvn-2021", {"distillation": {"epochs": 2000, "batch_size": 512, "learning_rate": 0.001, "temperature": 20}}),
        # Ferles et al. 2020, section 4.3; the last of them is its own change.
        ("abm-2019", {"generator": {"learning_rate": 1e-3, "student_steps": 10, "latent_dim": 100, "replay": 0}}),
        ("abm-2019", {"distillation": {"learning_rate": 2e-3, "schedule": "cosine", "batch_size": 128}}),
        ("abm-2020", {"generator": {"fresh_batches": True, "student_steps": 10}}),
    ],
)
def test_settings_as_published(name: str, values: dict[str, dict[str, object]]) -> None:
    recipe = load_recipe(name)
    assert recipe.procedural is None
    for section, fields in values.items():
        assert getattr(recipe, section).model_dump(include=set(fields)) == fields


@pytest.mark.parametrize("name", ["abm-2019", "abm-2020"])
def test_abm_takes_as_many_steps_as_published(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.distillation.steps(0) == 80_000 * 10


def test_a_start_from_images_needs_the_section_that_draws_them() -> None:
    with pytest.raises(RecipeError, match="start procedural needs a section procedural"):
        load_recipe("boundary", ["procedural=null"])
