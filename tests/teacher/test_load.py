"""A classifier whose weights are trained, by the graphs that the rest of the package uses."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.conftest import SaveModel
from tests.importer.nets import NETS, convolution, random
from zskd_onnx import UsageError
from zskd_onnx.importer.write_back import updated_model
from zskd_onnx.teacher.classifier import Classifier
from zskd_onnx.teacher.load import load_classifier


def load(save_model: SaveModel, name: str = "convolution", **options: object) -> Classifier:
    nodes, sample, tensors = NETS[name]()
    path = save_model(
        [*nodes, onnx.helper.make_node("Softmax", ["y"], ["probabilities"], axis=1)], ["N", *sample], ["N", 3], tensors
    )
    model = onnx.load(path)
    model.graph.output[0].name = "probabilities"
    onnx.save(model, path)
    return load_classifier(path, input_range=(0, 1), **options)


def run_file(model: onnx.ModelProto, x: Tensor) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x.numpy()})[0]


def test_a_classifier_is_frozen_unless_it_is_trainable(save_model: SaveModel) -> None:
    frozen = load(save_model)
    assert not list(frozen.parameters())
    assert not frozen.trainable
    trained = load(save_model, trainable=True)
    assert trained.trainable
    assert trained.parameters_count == frozen.parameters_count
    assert all(p.requires_grad and isinstance(p, nn.Parameter) for p in trained.parameters())
    assert len(list(trained.parameters())) == len([k for k in convolution()[2] if "running" not in k])
    x = random(4, 3, 8, 8)
    torch.testing.assert_close(trained.logits(x).detach(), frozen.logits(x))
    assert trained.head is not None


@pytest.mark.parametrize("name", ["convolution", "channels_last", "perceptron", "attention", "half_precision"])
def test_training_the_scores_trains_the_file(save_model: SaveModel, name: str) -> None:
    classifier = load(save_model, name, trainable=True)
    x = classifier.domain.to_file(torch.rand(6, *classifier.domain.shape, generator=torch.Generator().manual_seed(0)))
    optimizer = torch.optim.SGD(classifier.graphs.scores.parameters(), 0.1)
    classifier.train()
    assert classifier.graphs.scores.training
    before = F.cross_entropy(classifier.logits(x), torch.arange(6) % 3)
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(classifier.logits(x), torch.arange(6) % 3).backward()
        optimizer.step()
    assert F.cross_entropy(classifier.logits(x), torch.arange(6) % 3) < before
    classifier.eval()
    assert not any(m.training for m in classifier.modules())
    y = classifier(x).detach().numpy()
    np.testing.assert_allclose(run_file(updated_model(classifier.graphs.scores), x), y, atol=2e-3)
    np.testing.assert_allclose(classifier.logits(x).softmax(1).detach().numpy(), y, atol=1e-6)


def test_parts_share_statistics_when_the_classifier_moves(save_model: SaveModel) -> None:
    """torch moves the buffers of each part alone."""
    classifier = load(save_model, trainable=True).double()
    x = random(4, 3, 8, 8).double()
    classifier.train()
    classifier.logits(x)
    classifier.eval()
    torch.testing.assert_close(classifier.logits(x).softmax(1), classifier(x))
    assert classifier.graphs.file.get_buffer("bn1.running_mean") is classifier.graphs.scores.get_buffer(
        "bn1.running_mean"
    )


def test_a_joined_graph_is_trained_with_the_classifier(save_model: SaveModel) -> None:
    classifier = load(save_model, trainable=True)
    joined = classifier.graph(features=True)
    assert {id(p) for p in joined.parameters()} == {id(p) for p in classifier.graphs.scores.parameters()}


def test_other_importers_are_not_trainable(save_model: SaveModel) -> None:
    with pytest.raises(UsageError, match="native"):
        load(save_model, trainable=True, importer="onnx2torch")
