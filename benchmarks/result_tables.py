"""The tables and figures of the results pages (``make_results.py``), each a function of the runs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

Run = dict[str, Any]


@dataclass
class Runs:
    """All runs, and which of the current ones a table has shown."""

    runs: list[Run]
    shown: set[int] = field(default_factory=set)

    def select(self, *tables: str) -> list[Run]:
        """Return the current runs of these tables, and mark them as shown."""
        chosen = [run for run in self.runs if run["table"] in tables and run["status"] == "current"]
        self.shown |= {id(run) for run in chosen}
        return chosen

    def not_run(self, *tables: str) -> list[Run]:
        return [run for run in self.runs if run["table"] in tables and run["status"] == "not run"]

    def not_shown(self) -> list[Run]:
        return [run for run in self.runs if run["status"] == "current" and id(run) not in self.shown]


def grouped(runs: Iterable[Run], *names: str) -> list[list[Run]]:
    """Split runs into groups with equal fields, in order of first appearance."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps([run[name] for name in names]), []).append(run)
    return list(groups.values())


def override(run: Run, key: str) -> str | None:
    """Return the value that the overrides of a run give to a key."""
    return dict(entry.split("=", 1) for entry in run["overrides"]).get(key)


# Cells


def column(runs: Iterable[Run], name: str) -> list[float]:
    return [run[name] for run in runs if run[name] is not None]


def mean_and_deviation(values: Iterable[float]) -> str:
    """Return "mean ± sample deviation" with two digits, or the only value."""
    exact = [Decimal(str(value)) for value in values]
    figures = [statistics.mean(exact)] if exact else []
    figures += [statistics.stdev(exact)] if len(exact) > 1 else []
    return " ± ".join(str(figure.quantize(Decimal("0.01"), ROUND_HALF_UP)) for figure in figures)


def accuracy(runs: Iterable[Run]) -> str:
    return mean_and_deviation(column(runs, "accuracy"))


def seconds(runs: Sequence[Run]) -> str:
    """Return the mean, marked with † if it leaves the synthesis out."""
    values = column(runs, "seconds")
    mark = "†" if "seconds leave the synthesis out" in (runs[0]["note"] or "") else ""
    return f"{statistics.mean(values):.0f}{mark}" if values else ""


def label(run: Run) -> str:
    """Return the recipe and the description of a run."""
    recipe = f"`{run['recipe']}`" if run["recipe"] else None
    return ", ".join(part for part in (recipe, run["description"]) if part)


def table(header: str, rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; ``header`` holds the names of the columns with | between them."""
    names = header.split(" | ")
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|" for cells in lines)


# Tables and figures, in the order of the page


def mnist(runs: Runs) -> str:
    groups = grouped(runs.select("mnist"), "recipe", "overrides", "description")
    return table(
        "recipe | published | ours | n | seconds",
        ([label(g[0]), g[0].get("published", ""), accuracy(g), str(len(g)), seconds(g)] for g in groups),
    )


def full_size(runs: Runs) -> str:
    (run,) = runs.select("mnist, full size")
    return f"{run['accuracy']:.2f} % (teacher {run['teacher_accuracy']:.2f} %)"


def before_training(runs: Runs) -> str:
    untrained = runs.select("mnist, before training")
    return f"{accuracy(untrained)} % (n = {len(untrained)}, {untrained[0]['seconds']} seconds)"


def transition_errors(runs: Runs) -> str:
    groups = grouped((run for run in runs.select("mnist") if "mean_transition_error" in run["metrics"]), "recipe")
    means = (statistics.mean(run["metrics"]["mean_transition_error"] for run in group) for group in groups)
    return ", ".join(f"`{group[0]['recipe']}` {mean:.2f}" for group, mean in zip(groups, means, strict=True))


def set_size(runs: Runs) -> str:
    whole = [run for run in runs.select("mnist") if run["recipe"] == "zskd" and not override(run, "fine_tuning.epochs")]
    groups: dict[tuple[bool, int], dict[str | None, list[Run]]] = {}
    for run in [*runs.select("set size"), *whole]:
        augmented = override(run, "distillation.augmentation.fraction") is None
        kind = override(run, "prior.similarity") and (override(run, "prior.beta") or "4")
        size = (augmented, int(override(run, "synthesis.count") or 48000))
        groups.setdefault(size, {}).setdefault(kind, []).append(run)
    rows = []
    for (augmented, count), kinds in sorted(groups.items()):
        similarity, uniform, paper = (kinds.get(kind, []) for kind in (None, "4", "[1,0.1]"))
        figures = [accuracy(similarity), accuracy(uniform), accuracy(paper), seconds(similarity)]
        rows.append([f"{count:,}", "yes" if augmented else "no", similarity[0].get("published", ""), *figures])
    return table(
        "impressions | augmented | published | class similarity | uniform | uniform, paper's beta | seconds", rows
    )


ABLATIONS = {
    "sigma": ("`prior.sigma` of `mvn` (68.6 is derived from this teacher)", "prior.sigma"),
    "activation loss": ("`synthesis.activation` of `mvn`", "synthesis.activation"),
    "components": ("prior and `synthesis.activation`", "synthesis.activation"),
    "the paper's targets": ("the paper's beta and floor (published with the whole set: 96.98 and 95.16)", None),
    "floor": ("`prior.floor` of `zskd`: the chance of unlike classes", "prior.floor"),
    "real images": ("real images of each class, `kd-at`", "data.per_class"),
    "the paper's synthesis": ("the paper's targets and iterations; temperature", "distillation.temperature"),
}
"""Table, what varies, and its key."""


def ablations(runs: Runs) -> str:
    rows = []
    for name, (what, key) in ABLATIONS.items():
        groups = grouped(runs.select(f"ablation: {name}"), "recipe", "overrides")
        several = len({group[0]["recipe"] for group in groups}) > 1
        cells = []
        for group in groups:
            value = (override(group[0], key) or "4") if key else None
            recipe = f"`{group[0]['recipe']}`" if several else None
            cells.append(f"{' '.join(part for part in (recipe, value) if part)}: {accuracy(group)}")
        rows.append([what, "; ".join(cells), str(len(groups[0]))])
    return table("what varies | value: accuracy | n", rows)


def not_run(*tables: str) -> Callable[[Runs], str]:
    """Return a function that lists the runs of these tables that were not made, with the published figures."""

    def sentence(runs: Runs) -> str:
        missing = [run for name in tables for run in runs.not_run(name)]
        published = (f" (published {run['published']})" if "published" in run else "" for run in missing)
        return "; ".join(label(run) + figure for run, figure in zip(missing, published, strict=True))

    return sentence


PROBLEMS = {
    "mnist": "MNIST, batch normalisation",
    "fashion-mnist": "Fashion-MNIST",
    "hundred-classes": "100 classes, 32x64",
    "cifar10": "CIFAR-10",
    "cifar10 in grey": "CIFAR-10 in grey",
    "cifar10, middle rows, 16x32": "CIFAR-10, 16x32",
}
"""What the column "problem" calls the data sets."""


def other_problems(runs: Runs) -> str:
    chosen = runs.select("mnist, batch normalisation", "fashion-mnist", "hundred classes", "natural images")
    groups = grouped(chosen, "recipe", "overrides", "description", "data")
    groups.sort(key=lambda group: list(PROBLEMS).index(group[0]["data"]))
    rows = []
    for group in groups:
        teacher = mean_and_deviation(column(group, "teacher_accuracy"))
        rows.append(
            [PROBLEMS[group[0]["data"]], label(group[0]), teacher, accuracy(group), str(len(group)), seconds(group)]
        )
    return table("problem | recipe and samples | teacher | student | n | seconds", rows)


def published_cifar(runs: Runs) -> str:
    parts = []
    for pair in grouped(runs.not_run("cifar-10 and svhn"), "data", "teacher", "student"):
        name = "SVHN, " if pair[0]["data"] == "svhn" else ""
        figures = ", ".join(f"{label(run)} {run['published'].replace(', ', ' or ')}" for run in pair)
        parts.append(f"{name}{pair[0]['teacher']} to {pair[0]['student']}: {figures}")
    return "; ".join(parts)


CONVERTERS = ("zskd-onnx", "onnx2torch", "onnx2fx", "onnx2pytorch")


def importer(runs: Runs) -> str:
    def cell(metrics: dict[str, Any]) -> str:
        if "passed" in metrics:
            return f"{metrics['passed']} / {metrics['refused']} / {metrics['wrong']}"
        return str(metrics.get("graph_breaks", "refused"))

    rows = []
    for group in grouped(runs.select("converters"), "description"):
        cells = {run["metrics"]["converter"]: cell(run["metrics"]) for run in group}
        rows.append([group[0]["description"], str(group[0]["metrics"]["cases"]), *(cells[name] for name in CONVERTERS)])
    return table(f"test | cases | {' | '.join(CONVERTERS)}", rows)


def conformance(runs: Runs) -> str:
    (run,) = runs.select("conformance")
    counts = run["metrics"]
    return f"{counts['passed']} of {counts['cases']} cases pass, {counts['refused']} are refused, {counts['wrong']} are wrong"


def architectures(runs: Runs) -> str:
    metrics = [run["metrics"] for run in runs.select("architectures")]
    verdicts = {name: [row["verdict"] for row in metrics if row["exporter"] == name] for name in ("default", "legacy")}
    parts = (f"{rows.count('ok')}/{len(rows)} with the {name} exporter" for name, rows in verdicts.items())
    parity, gradient = (max(row[name] for row in metrics) for name in ("parity", "gradient"))
    return f"{', '.join(parts)}; worst parity {parity:.1e}, worst gradient difference {gradient:.1e} (relative)"


def light_models(runs: Runs) -> str:
    metrics = [run["metrics"] for run in runs.select("light models")]
    plain, random = (max(row[name] for row in metrics) for name in ("parity_as_it_is", "parity_random_weights"))
    return f"all {len(metrics)} load; worst parity {plain:.1e} as they are, {random:.1e} with random weights"


def speed(runs: Runs) -> str:
    rows = []
    for group in grouped(runs.select("speed, impressions"), "description", "machine"):
        metrics = [run["metrics"] for run in group]
        rates = ", ".join(f"{row['iterations_per_second']:,}" for row in metrics if "iterations_per_second" in row)
        ratios = ", ".join(f"{row['ratio']:.2f}" for row in metrics if "ratio" in row)
        rows.append([group[0]["description"], rates and f"{rates} a second", ratios, group[0]["machine"]])
    for run in runs.select("speed, adversary"):
        metrics = run["metrics"]
        figure = f"{metrics['milliseconds']} ms; plain loop {metrics['plain_milliseconds']:,} ms"
        rows.append([f"{run['description']}, {run['note']}", figure, str(metrics["ratio"]), run["machine"]])
    for run in runs.select("speed, import"):
        rows.append([run["description"], f"{run['seconds']:.2f} s", "", run["machine"]])
    for run in runs.select("speed, forward and backward"):
        ratio = run["metrics"].get("ratio_to_native")
        if ratio is not None:
            rows.append([f"{run['description']}, time beside the native module", "", f"{ratio:.2f}", run["machine"]])
    return table("what | figure | ratio | machine", rows)


def graph_breaks(runs: Runs) -> str:
    compiled = (run["metrics"] for run in runs.select("speed, forward and backward"))
    return ", ".join(str(metrics["graph_breaks"]) for metrics in compiled if "graph_breaks" in metrics)


def frameworks(runs: Runs) -> str:
    def agreement(group: Iterable[Run]) -> str:
        values = column(group, "agreement")
        return mean_and_deviation(values) + (f" (n = {len(values)})" if len(values) > 1 else "")

    rows = []
    for group in grouped(runs.select("frameworks"), "teacher"):
        best = [run for run in group if run["recipe"] == "best"]
        paper = [run for run in group if "the paper's targets" in (run["description"] or "")]
        zskd = [run for run in group if run["recipe"] == "zskd" and run not in paper]
        accuracies = [mean_and_deviation(column(paper, name)) for name in ("teacher_accuracy", "accuracy")]
        checked = f"weights found, {paper[0]['metrics']['weights']}"
        rows.append(
            [f"`{group[0]['teacher']}`", checked, *accuracies, *map(agreement, (best, zskd, paper)), seconds(paper)]
        )
    for run in runs.select("demo", "quantised"):
        accuracies = [f"{run['teacher_accuracy']:.2f}", f"{run['accuracy']:.2f}"]
        if run["table"] == "demo":
            name, checked = "`zskd-onnx demo`", f"parity {run['metrics']['parity']:.1e}"
        else:
            name = f"LeNet-5, {run['description']}"
            checked = "cosine {gradient_cosine_mean:.4f}, least {gradient_cosine_least:.4f}".format(**run["metrics"])
        rows.append([name, checked, *accuracies, "", "", "", seconds([run])])
    return table(
        "teacher file | checked | teacher | student | `best` agrees | `zskd` agrees | paper's targets | seconds", rows
    )


def exports(runs: Runs) -> str:
    files = runs.select("exports")
    metrics = [run["metrics"] for run in files]
    accuracies = sorted({f"{run['accuracy']:.2f}" for run in files})
    return (
        f"weights differ by {max(row['weight_difference'] for row in metrics)}, the least gradient cosine is "
        f"{min(row['gradient_cosine_least'] for row in metrics)}, and each student has {' or '.join(accuracies)} %"
    )


def priors(runs: Runs) -> str:
    rows = []
    for run in runs.select("priors"):
        metrics = run["metrics"]
        winners = f"{metrics['rarest_winner_percent']:.1f} to {metrics['commonest_winner_percent']:.1f} %"
        probability = f"{metrics['mean_largest_probability']:.3f}"
        elsewhere = f"{metrics['peaks_at_another_class_percent']:.1f} %"
        rows.append(
            [run["description"], elsewhere, probability, winners, str(metrics["logit_spread_at_temperature_20_median"])]
        )
    for group in grouped(runs.select("priors, sigma"), "description"):
        for run in group:
            what = f"{run['description']}, square root of sigma {run['metrics']['sqrt_sigma']:g}"
            rows.append([what, "", f"{run['metrics']['mean_largest_probability']:.3f}", "", ""])
    return table("prior | peaks at another class | mean largest probability | share of each class | logit range", rows)


def real_digits(runs: Runs) -> str:
    (digits,), (derived,) = runs.select("priors, real digits"), runs.select("priors, derived")
    return (
        f"Real digits have a mean largest probability of {digits['metrics']['mean_largest_probability_at_temperature_20']} "
        f"at temperature 20, and lie near a square root of sigma of {digits['metrics']['sqrt_sigma_of_real_digits']}. "
        f"From a confidence of 0.9, `sigma: auto` derives {derived['metrics']['sqrt_sigma_penultimate']} at the "
        f"penultimate layer and {derived['metrics']['sqrt_sigma_softmax']} at the softmax."
    )


PARTS: dict[str, Callable[[Runs], str]] = {
    "mnist": mnist,
    "full size": full_size,
    "before training": before_training,
    "transition errors": transition_errors,
    "set size": set_size,
    "ablations": ablations,
    "ablations, not run": not_run(*(f"ablation: {name}" for name in ABLATIONS)),
    "other problems": other_problems,
    "cifar-10, not run": published_cifar,
    "importer": importer,
    "conformance": conformance,
    "architectures": architectures,
    "light models": light_models,
    "speed": speed,
    "graph breaks": graph_breaks,
    "frameworks": frameworks,
    "exports": exports,
    "priors": priors,
    "real digits": real_digits,
}
"""What stands for each ``{{ name }}`` of ``results/page.md``."""
