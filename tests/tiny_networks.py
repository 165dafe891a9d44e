"""Model files made by tests: of the published layout, with weights that the test knows."""

from pathlib import Path

import flatbuffers
import numpy as np
import torch
from mediapipe.tasks.metadata import (
    image_segmenter_metadata_schema_py_generated as segmenter_schema,
)
from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata_schema
from mediapipe.tasks.metadata import schema_py_generated as schema


def bisenet_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes in zllrunning's 79999_iter.pth, written down from its public model code."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name, channels):
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (channels,)
        shapes[f"{name}.num_batches_tracked"] = ()

    def block(name, inputs, outputs, size):
        shapes[f"{name}.conv.weight"] = (outputs, inputs, size, size)
        norm(f"{name}.bn", outputs)

    shapes["cp.resnet.conv1.weight"] = (64, 3, 7, 7)
    norm("cp.resnet.bn1", 64)
    for layer, (inputs, outputs) in enumerate([(64, 64), (64, 128), (128, 256), (256, 512)], 1):
        for index, into in enumerate((inputs, outputs)):
            name = f"cp.resnet.layer{layer}.{index}"
            shapes[f"{name}.conv1.weight"] = (outputs, into, 3, 3)
            norm(f"{name}.bn1", outputs)
            shapes[f"{name}.conv2.weight"] = (outputs, outputs, 3, 3)
            norm(f"{name}.bn2", outputs)
            if into != outputs:
                shapes[f"{name}.downsample.0.weight"] = (outputs, into, 1, 1)
                norm(f"{name}.downsample.1", outputs)
    for name, inputs in (("cp.arm16", 256), ("cp.arm32", 512)):
        block(f"{name}.conv", inputs, 128, 3)
        shapes[f"{name}.conv_atten.weight"] = (128, 128, 1, 1)
        norm(f"{name}.bn_atten", 128)
    block("cp.conv_head32", 128, 128, 3)
    block("cp.conv_head16", 128, 128, 3)
    block("cp.conv_avg", 512, 128, 1)
    block("ffm.convblk", 256, 256, 1)
    shapes["ffm.conv1.weight"] = (64, 256, 1, 1)
    shapes["ffm.conv2.weight"] = (256, 64, 1, 1)
    for name, inputs, hidden in (
        ("conv_out", 256, 256), ("conv_out16", 128, 64), ("conv_out32", 128, 64),
    ):  # fmt: skip
        block(f"{name}.conv", inputs, hidden, 3)
        shapes[f"{name}.conv_out.weight"] = (19, hidden, 1, 1)
    return shapes


def bisenet_weights(generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Random weights whose features neither vanish nor explode."""
    weights = {}
    for name, shape in bisenet_shapes().items():
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(80000)
        elif name.endswith("running_var"):
            weights[name] = 0.5 + torch.rand(shape, generator=generator)
        elif len(shape) == 4:
            fan_in = shape[1] * shape[2] * shape[3]
            weights[name] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
        else:
            offset = 1.0 if name.endswith("weight") else 0.0
            weights[name] = offset + 0.2 * torch.randn(shape, generator=generator)
    return weights


# Color -> class of the tiny selfie model, and the logits that say so: one row per class, over
# (red, green, blue, 1), colors in [0, 1].
SELFIE_COLORS = {
    "background": (0, 0, 0),
    "hair": (255, 0, 0),
    "body_skin": (255, 255, 0),
    "face_skin": (0, 255, 0),
    "clothes": (0, 0, 255),
    "other": (0, 255, 255),
}
SELFIE_LOGITS = np.array(
    [
        [0, 0, 0, 1],
        [10, -10, -10, 0],
        [10, 10, -10, -5],
        [-10, 10, -10, 0],
        [-10, -10, 10, 0],
        [-10, 10, 10, -5],
    ],
    dtype=np.float32,
)


def write_selfie_model(
    path: Path, logits: np.ndarray = SELFIE_LOGITS, *, metadata: bool = True
) -> Path:
    """Write a .tflite of the selfie segmenter's layout: one 1x1 convolution from colors to classes.

    Args:
        path: File to write.
        logits: One row per class over (red, green, blue, 1). Shape (classes, 4).
        metadata: Whether MediaPipe is told how to scale the input, and to apply a softmax.
    """
    model = schema.ModelT()
    model.version, model.description = 3, "selfie segmenter of a test"
    model.buffers = [schema.BufferT()]
    classes = len(logits)
    tensors = [
        _tensor("input", (1, 256, 256, 3), 0),
        _tensor("weight", (classes, 1, 1, 3), _buffer(model, logits[:, :3].copy())),
        _tensor("bias", (classes,), _buffer(model, logits[:, 3].copy())),
        _tensor("output", (1, 256, 256, classes), 0),
    ]
    graph = schema.SubGraphT()
    graph.name, graph.tensors, graph.inputs, graph.outputs = "main", tensors, [0], [3]
    graph.operators = [_convolution()]
    model.subgraphs = [graph]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    code.version = 1
    model.operatorCodes = [code]
    if metadata:
        entry = schema.MetadataT()
        entry.name, entry.buffer = "TFLITE_METADATA", _buffer(model, _segmenter_metadata())
        model.metadata = [entry]
    path.write_bytes(_packed(model, b"TFL3").tobytes())
    return path


def _tensor(name, shape, buffer):
    tensor = schema.TensorT()
    tensor.name, tensor.buffer, tensor.type = name, buffer, schema.TensorType.FLOAT32
    tensor.shape = np.array(shape, dtype=np.int32)
    return tensor


def _buffer(model, content):
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(content.tobytes(), dtype=np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def _convolution():
    options = schema.Conv2DOptionsT()
    options.strideW = options.strideH = 1
    options.dilationWFactor = options.dilationHFactor = 1
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, 2], [3]
    operator.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    operator.builtinOptions = options
    return operator


def _segmenter_metadata():
    """Colors divided by 255, a softmax at the end."""
    segmenter = segmenter_schema.ImageSegmenterOptionsT()
    segmenter.activation = segmenter_schema.Activation.SOFTMAX
    custom = metadata_schema.CustomMetadataT()
    custom.name, custom.data = "SEGMENTER_METADATA", _packed(segmenter, b"V001")
    scaling = metadata_schema.NormalizationOptionsT()
    scaling.mean, scaling.std = [0.0], [255.0]
    unit = metadata_schema.ProcessUnitT()
    unit.optionsType = metadata_schema.ProcessUnitOptions.NormalizationOptions
    unit.options = scaling
    given, told = metadata_schema.TensorMetadataT(), metadata_schema.TensorMetadataT()
    given.processUnits = [unit]
    graph = metadata_schema.SubGraphMetadataT()
    graph.inputTensorMetadata, graph.outputTensorMetadata = [given], [told]
    graph.customMetadata = [custom]
    whole = metadata_schema.ModelMetadataT()
    whole.subgraphMetadata = [graph]
    return _packed(whole, b"M001")


def _packed(table, identifier):
    builder = flatbuffers.Builder(0)
    builder.Finish(table.Pack(builder), identifier)
    return np.frombuffer(bytes(builder.Output()), dtype=np.uint8)
