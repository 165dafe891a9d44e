"""BiSeNet: the face-parsing network of this field, 19 classes of CelebAMask-HQ.

Architecture: Yu et al. 2018 (arXiv:1808.00897) with ResNet-18 (He et al. 2016, arXiv:1512.03385),
in the variant of zllrunning/face-parsing.PyTorch, whose weights everybody uses: the features of
the residual network at 1/8 of the size stand for the paper's spatial path. Modules are named as in
that file of weights, so that it loads without renaming.

Its own words: the *context path* sees large parts of the picture (1/16 and 1/32 of its size),
*attention refinement* weighs its channels, *feature fusion* joins both. Inside, arrays are
(batch, channels, height, width).
"""

import pickle
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sspnerf.errors import SspnerfError
from sspnerf.ops.backend import field_dtype
from sspnerf.perception.celeba_mask import CelebAMaskClass

# Mean and spread of ImageNet's colors in [0, 1]: the input is shifted and scaled by them.
COLOR_MEAN, COLOR_SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ConvolutionBlock(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, *, size: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(
        self, features: Float[Tensor, "batch inputs height width"]
    ) -> Float[Tensor, "batch outputs height width"]:
        """Apply the block."""
        return functional.relu(self.bn(self.conv(features)))


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(
        self, features: Float[Tensor, "batch inputs height width"]
    ) -> Float[Tensor, "batch outputs height2 width2"]:
        """Apply the block."""
        inner = functional.relu(self.bn1(self.conv1(features)))
        shortcut = features if self.downsample is None else self.downsample(features)
        return functional.relu(shortcut + self.bn2(self.conv2(inner)))


class ResidualNetwork(nn.Module):
    """ResNet-18 up to its last convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _layer(64, 64, stride=1)
        self.layer2 = _layer(64, 128, stride=2)
        self.layer3 = _layer(128, 256, stride=2)
        self.layer4 = _layer(256, 512, stride=2)

    def forward(self, picture: Float[Tensor, "batch 3 height width"]) -> tuple[Tensor, ...]:
        """Return the features at 1/8, 1/16 and 1/32 of the picture's size."""
        stem = functional.relu(self.bn1(self.conv1(picture)))
        stem = functional.max_pool2d(stem, kernel_size=3, stride=2, padding=1)
        eighth = self.layer2(self.layer1(stem))
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


def _layer(inputs: int, outputs: int, *, stride: int) -> nn.Sequential:
    first = ResidualBlock(inputs, outputs, stride=stride)
    return nn.Sequential(first, ResidualBlock(outputs, outputs, stride=1))


class AttentionRefinement(nn.Module):
    """A block whose channels are weighed by what is in the whole picture."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = ConvolutionBlock(inputs, outputs)
        self.conv_atten = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(outputs)

    def forward(
        self, features: Float[Tensor, "batch inputs height width"]
    ) -> Float[Tensor, "batch outputs height width"]:
        """Apply the block, and weigh each channel of its result by a number in [0, 1]."""
        refined = self.conv(features)
        attention = self.bn_atten(self.conv_atten(_mean(refined)))
        weighed: Tensor = refined * torch.sigmoid(attention)
        return weighed


class ContextPath(nn.Module):
    """What is where, roughly: three sizes of features, the coarse ones added to the finer."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = ResidualNetwork()
        self.arm16 = AttentionRefinement(256, 128)
        self.arm32 = AttentionRefinement(512, 128)
        self.conv_head32 = ConvolutionBlock(128, 128)
        self.conv_head16 = ConvolutionBlock(128, 128)
        self.conv_avg = ConvolutionBlock(512, 128, size=1)

    def forward(self, picture: Float[Tensor, "batch 3 height width"]) -> tuple[Tensor, Tensor]:
        """Return the plain features and the context, both at 1/8 of the picture's size."""
        eighth, sixteenth, coarse = self.resnet(picture)
        context = self.arm32(coarse) + self.conv_avg(_mean(coarse))
        context = self.conv_head32(_enlarged(context, like=sixteenth))
        context = self.arm16(sixteenth) + context
        return eighth, self.conv_head16(_enlarged(context, like=eighth))


class FeatureFusion(nn.Module):
    """Joins fine features and context, and adds its own channels once more as they are needed."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convblk = ConvolutionBlock(inputs, outputs, size=1)
        self.conv1 = nn.Conv2d(outputs, outputs // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs // 4, outputs, 1, bias=False)

    def forward(
        self,
        fine: Float[Tensor, "batch first height width"],
        context: Float[Tensor, "batch second height width"],
    ) -> Float[Tensor, "batch outputs height width"]:
        """Join two arrays of features of one size."""
        joined = self.convblk(torch.cat((fine, context), dim=1))
        attention = self.conv2(functional.relu(self.conv1(_mean(joined))))
        fused: Tensor = joined + joined * torch.sigmoid(attention)
        return fused


class ClassBranch(nn.Module):
    """Features -> logits of the classes."""

    def __init__(self, inputs: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.conv = ConvolutionBlock(inputs, hidden)
        self.conv_out = nn.Conv2d(hidden, classes, 1, bias=False)

    def forward(
        self, features: Float[Tensor, "batch inputs height width"]
    ) -> Float[Tensor, "batch classes height width"]:
        """Tell the logits."""
        logits: Tensor = self.conv_out(self.conv(features))
        return logits


class BiSeNet(nn.Module):
    """A square picture of a face -> logits of 19 classes, at the picture's size.

    13.3 million weights. `conv_out16` and `conv_out32` only served the training; they are here so
    that the published file fits, and do not run.
    """

    def __init__(self) -> None:
        super().__init__()
        classes = len(CelebAMaskClass)
        self.cp = ContextPath()
        self.ffm = FeatureFusion(256, 256)
        self.conv_out = ClassBranch(256, 256, classes)
        self.conv_out16 = ClassBranch(128, 64, classes)
        self.conv_out32 = ClassBranch(128, 64, classes)

    def forward(
        self, picture: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 19 height width"]:
        """Tell the logits of `CelebAMaskClass`.

        Args:
            picture: RGB, shifted and scaled as ImageNet's. Sides of at least 32 px.
        """
        fine, context = self.cp(picture)
        logits = self.conv_out(self.ffm(fine, context))
        # Trained with corners aligned: the first value lies on the first pixel's centre.
        return functional.interpolate(
            logits.float(), size=picture.shape[2:], mode="bilinear", align_corners=True
        )


def _mean(features: Tensor) -> Tensor:
    """Average over the picture: height and width become 1."""
    return features.mean(dim=(2, 3), keepdim=True)


def _enlarged(features: Tensor, *, like: Tensor) -> Tensor:
    return functional.interpolate(features, size=like.shape[2:], mode="nearest")


class FaceParsingNetwork:
    """BiSeNet with learned weights, ready to look at pictures.

    Args:
        model: Path of the published weights (`79999_iter.pth`), a pickled state dict.
        device: Where it runs; a GPU if there is one, if None.

    Raises:
        SspnerfError: If the file holds other weights, or none.
    """

    def __init__(self, model: Path, *, device: torch.device | None = None) -> None:
        self._device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = load_bisenet(model).to(self._device)
        # A quarter less time in bfloat16. `Module.to` knows the format, but not its type stub.
        for array in self._network.parameters():
            if array.ndim == 4:
                array.data = array.data.contiguous(memory_format=torch.channels_last)

    def probabilities(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Tell the probability of each class.

        Args:
            picture: RGB. Shape (512, 512, 3).

        Returns:
            In the order of `CelebAMaskClass`; they sum to 1. Shape (19, 512, 512).
        """
        dtype = field_dtype(self._device)
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, dtype, enabled=dtype != torch.float32),
        ):
            logits = self._network(normalized(picture).to(self._device))
            return np.asarray(logits[0].softmax(dim=0).cpu().numpy())


def normalized(picture: NDArray[np.uint8]) -> Float[Tensor, "1 3 height width"]:
    """Shift and scale a picture as the network expects it.

    Args:
        picture: RGB. Shape (height, width, 3).
    """
    color = torch.from_numpy(np.ascontiguousarray(picture)).float() / 255
    color = (color - torch.tensor(COLOR_MEAN)) / torch.tensor(COLOR_SPREAD)
    return color.permute(2, 0, 1)[None]


def load_bisenet(path: Path) -> BiSeNet:
    """Load the weights, all of them and nothing else.

    Args:
        path: A state dict as `torch.save` writes it. Only arrays are read: a file that wants to
            run code is refused.

    Returns:
        The network, set to be used (not trained).

    Raises:
        SspnerfError: If the file cannot be read or does not fit.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, OSError) as error:
        raise SspnerfError(
            f"{path} cannot be read as weights of BiSeNet ({type(error).__name__})", _HINT
        ) from error
    network = BiSeNet()
    expected = network.state_dict()
    obstacle = _misfit(weights, expected)
    if obstacle:
        classes = len(CelebAMaskClass)
        raise SspnerfError(f"{path} is no BiSeNet of {classes} classes: {obstacle}", _HINT)
    network.load_state_dict(weights, strict=True)
    return network.eval()


_HINT = "remove the file and get 79999_iter.pth of face-parsing.PyTorch"


def _misfit(weights: object, expected: dict[str, Tensor]) -> str:
    """Say why weights do not fit, in one line; nothing if they do."""
    if not isinstance(weights, dict):
        return f"it holds a {type(weights).__name__}, expected a dict of arrays"
    for name, array in expected.items():
        # Files from before 2018 lack the counters; they matter to training only.
        if name not in weights and not name.endswith("num_batches_tracked"):
            return f"it has no {name}"
        shape = tuple(getattr(weights.get(name, array), "shape", ()))
        if shape != tuple(array.shape):
            return f"{name} has the shape {shape}, expected {tuple(array.shape)}"
    unknown = [str(name) for name in weights if name not in expected]
    return f"{unknown[0]} is not part of it" if unknown else ""
