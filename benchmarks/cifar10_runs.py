"""The runs of ``cifar10.py``: the papers' pairs of teacher and student, with recipe and published accuracy."""

from __future__ import annotations

from dataclasses import dataclass

COLOUR = (
    *(f"augmentation.{change}" for change in ("flip=0.5", "pad=4", "rotation=15", "scale=[0.8,1.2]", "shift=0.1")),
    "augmentation.fraction=0.8",
    "augmentation.crop=0",
)
"""Augmentation for natural images: flips and padded crops, small rotations, no crops on a blank ground."""


@dataclass(frozen=True)
class Run:
    """One run, a row of the table.

    Attributes:
        teacher: architecture of the teacher.
        student: architecture of the student.
        recipe: name of the recipe.
        published: the papers' accuracy, as text.
        batch_norm: whether the teacher's file keeps its batch normalisation.
        real: whether the recipe trains on real images.
        overrides: changes of the recipe.
        data: name of the data set.
        description: what distinguishes the run, as a part of its name.
    """

    teacher: str
    student: str
    recipe: str
    published: str
    batch_norm: bool = False
    real: bool = False
    overrides: tuple[str, ...] = ()
    data: str = "cifar10"
    description: str = ""

    @property
    def name(self) -> str:
        """The name of the run in the table and of its files."""
        prefix = "" if self.data == "cifar10" else f"{self.data}, "
        description = f", {self.description}" if self.description else ""
        return f"{prefix}{self.teacher} to {self.student}, {self.recipe}{description}{', BN kept' if self.batch_norm else ''}"


PLAIN = ("distillation.augmentation.fraction=0", "procedural=null")
"""No augmentation and no procedural images, as in the papers."""

IMPRESSIONS = tuple(f"distillation.{change}" for change in COLOUR)
ADVERSARIAL = (
    *(f"generator.{change}" for change in ("width=128", "output=linear", "replay=0")),
    "distillation.epochs=800",
    *PLAIN,
)
SGD = tuple(
    f"distillation.{change}" for change in ("optimiser=sgd", "learning_rate=0.1", "schedule=steps", "weight_decay=5e-4")
)
"""How wide ResNets are trained on real samples, also in the replication of ABM."""

DAFL = (
    *(
        f"generator.{change}"
        for change in ("width=128", "latent_dim=1000", "output=linear", "replay=0", "student_steps=1")
    ),
    *(f"generator.{change}" for change in ("learning_rate=0.02", "one_hot=0.05", "activation=0.01")),
    *(f"distillation.{change}" for change in ("epochs=200", "epoch_samples=102400", "batch_size=256", "temperature=1")),
    *SGD,
    *PLAIN,
)
"""The authors' loss weights and learning rates for CIFAR-10; they train longer, in batches of 1,024."""

NO_DEAD_LEAVES = ("procedural.dead_leaves=0",)
DEAD_LEAVES = ("procedural.dead_leaves=1", "procedural.natural_images=true", "distillation.epochs=50")

RUNS = (
    Run("alexnet", "alexnet-half", "best", "-", overrides=IMPRESSIONS),
    Run("alexnet", "alexnet-half", "zskd", "69.56", overrides=IMPRESSIONS),
    Run(
        "alexnet",
        "alexnet-half",
        "zskd",
        "69.56",
        overrides=(*IMPRESSIONS, *NO_DEAD_LEAVES),
        description="no dead leaves",
    ),
    Run("alexnet", "alexnet-half", "zskd", "56.80", overrides=PLAIN, description="no augmentation"),
    Run("alexnet", "alexnet-half", "zskd-uniform", "49.23", overrides=PLAIN, description="no augmentation"),
    Run("alexnet", "alexnet-half", "mvn", "73.91", overrides=(*IMPRESSIONS, "init=random")),
    Run("alexnet", "alexnet-half", "dafl", "70.23", overrides=DAFL),
    Run("alexnet", "alexnet-half", "noise", "36.49", overrides=IMPRESSIONS),
    Run(
        "alexnet",
        "alexnet-half",
        "procedural",
        "-",
        overrides=(*IMPRESSIONS, *DEAD_LEAVES),
        description="dead leaves alone",
    ),
    Run("alexnet", "alexnet-half", "kd", "80.08, 76.88", real=True, overrides=IMPRESSIONS),
    Run("resnet34", "resnet18", "mvn-softmax", "93.31", overrides=(*IMPRESSIONS, "synthesis.activation=0.1")),
    Run("resnet34", "resnet18", "best", "-", overrides=IMPRESSIONS),
    Run("resnet34", "resnet18", "zskd", "91.99", overrides=IMPRESSIONS),
    Run("resnet34", "resnet18", "deep-inversion", "93.26", batch_norm=True, overrides=IMPRESSIONS),
    Run("resnet34", "resnet18", "dafl", "92.22", overrides=DAFL),
    Run("resnet34", "resnet18", "kd", "94.40", real=True, overrides=IMPRESSIONS),
    *(
        Run("wrn-40-2", student, recipe, published, real=recipe == "kd-at", overrides=overrides)
        for student, figures in (("wrn-16-1", ("83.63", "84.78", "82.85")), ("wrn-16-2", ("89.31", "91.12", "87.27")))
        for recipe, published, overrides in (
            ("abm", figures[0], ADVERSARIAL),
            ("abm-modified", figures[1], ADVERSARIAL),
            ("kd-at", figures[2], ("distillation.epoch_samples=50000", "distillation.epochs=200", *SGD, *IMPRESSIONS)),
        )
    ),
    Run("wrn-40-2", "wrn-16-1", "abm", "94.00", overrides=ADVERSARIAL, data="svhn"),
    Run(
        "wrn-40-2",
        "wrn-16-1",
        "kd-at",
        "80.75, of 100 images of each class",
        real=True,
        overrides=("data.per_class=100", "distillation.epoch_samples=73257", "distillation.epochs=100", *SGD, *PLAIN),
        data="svhn",
    ),
)
