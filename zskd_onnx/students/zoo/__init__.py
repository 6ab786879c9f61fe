"""Student architectures. A new one is a file here that registers itself, and an import below."""

from zskd_onnx.students.zoo import alexnet, cnn, lenet, mlp, resnet, vgg, wide_resnet

__all__ = ["alexnet", "cnn", "lenet", "mlp", "resnet", "vgg", "wide_resnet"]
