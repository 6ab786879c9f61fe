"""Built-in student architectures. To add one, write a module here that registers it, and import it below."""

from zskd_onnx.students.zoo import alexnet, cnn, lenet, mlp, resnet, vgg, wide_resnet

__all__ = ["alexnet", "cnn", "lenet", "mlp", "resnet", "vgg", "wide_resnet"]
