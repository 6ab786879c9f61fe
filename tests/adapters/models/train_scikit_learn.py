"""Train scikit-learn classifiers for ten digits and for even and odd, and save them with pickle and skops."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import skops.io
from digits import FOLDER, save, split
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

warnings.simplefilter("ignore")  # about convergence
x, y, held_out, classes = split()
x, held_out = x.reshape(-1, 64), held_out.reshape(-1, 64)


def write(name: str, model: object) -> None:
    (FOLDER / f"{name}.pkl").write_bytes(pickle.dumps(model))
    skops.io.dump(model, FOLDER / f"{name}.skops")


PARITY = np.array(["even", "odd"])
for kind, estimator in {
    "logreg": LogisticRegression(C=0.1, max_iter=300),
    "mlp": MLPClassifier((64,), alpha=0.1, max_iter=60, random_state=0),
}.items():
    for task, target, index in (("multi", y, classes), ("binary", PARITY[y % 2], classes % 2)):
        model = make_pipeline(StandardScaler(), estimator).fit(x, target)
        write(f"{kind}_{task}", model)
        scores = model.predict_proba(held_out)
        print(f"scikit-learn {kind} {task} {(scores.argmax(1) == index).mean():.4f}")
        weight, bias = (
            (estimator.coef_, estimator.intercept_)
            if kind == "logreg"
            else (estimator.coefs_[-1].T, estimator.intercepts_[-1])
        )
        scaler = {"mean": model[0].mean_, "scale": model[0].scale_}
        save(f"{kind}_{task}", held_out, index, scores=scores, weight=weight, bias=bias, **scaler)
write("minmax", make_pipeline(MinMaxScaler(), LogisticRegression()).fit(x, y))
write("bare", LogisticRegression(max_iter=300).fit(x, y))
write("regression", LinearRegression().fit(x, y))
