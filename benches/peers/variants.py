"""The variants of `inference.py`: each a function from pixels, u8 [batch, 32, 32, 3], to logits, f32 [batch, 10].

What they need is imported late, so that the rest can be tested without it.
"""

import copy
import functools
import sys
import tempfile
from pathlib import Path

# Images that ranges of activations are taken from.
CALIBRATION = 256


class Weights:
    """The model with batch norm folded, and what the variants need to build on it. The network is that of the trainer."""

    def __init__(self, path, assets, threads, calibration):
        import torch
        from safetensors.torch import load_file

        sys.path.insert(0, str(assets))
        import train

        self.threads, self.calibration = threads, calibration
        # (pixel / 255 - mean) / std as one multiplication and one addition
        mean, std = torch.tensor(train.MEAN).view(3, 1, 1), torch.tensor(train.STD).view(3, 1, 1)
        self.scale, self.shift = 1.0 / (255.0 * std), -mean / std
        model = train.ResNet18()
        found = {name: tensor.float() for name, tensor in load_file(path).items()}
        lacking = [name for name in model.state_dict() if name not in found and "num_batches" not in name]
        if lacking:
            raise ValueError(f"{path} lacks {lacking[0]}: it is not the weights of this ResNet-18")
        model.load_state_dict(found, strict=False)
        self.model = folded(model.eval())

    def normalised(self, pixels):
        """u8 [batch, height, width, channel] to f32 [batch, channel, height, width], which stays channels last in memory."""
        return pixels.permute(0, 3, 1, 2).float() * self.scale + self.shift

    @functools.cached_property
    def exported(self):
        """The model in ONNX, from pixels on."""
        import torch

        weights = self

        class FromPixels(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = weights.model

            def forward(self, pixels):
                return self.model(weights.normalised(pixels))

        return torch.onnx.export(
            FromPixels().eval(),
            (torch.from_numpy(self.calibration[:2]),),
            input_names=["pixels"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
        ).model_proto


def folded(model):
    """The model with each batch norm in the convolution before it, as every runtime does it."""
    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    def into(module, convolution, norm):
        setattr(module, convolution, fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm)))
        setattr(module, norm, torch.nn.Identity())

    into(model, "conv1", "bn1")
    for block in (block for name, layer in model.named_children() if name.startswith("layer") for block in layer):
        into(block, "conv1", "bn1")
        into(block, "conv2", "bn2")
        if block.downsample is not None:
            block.downsample = fuse_conv_bn_eval(*block.downsample)
    return model


def torch_variant(weights, bfloat16):
    import torch

    kind = torch.bfloat16 if bfloat16 else torch.float32
    model = copy.deepcopy(weights.model).to(kind, memory_format=torch.channels_last)
    with torch.inference_mode():
        example = weights.normalised(torch.from_numpy(weights.calibration[:2])).to(kind)
        traced = torch.jit.freeze(torch.jit.trace(model, example))
        if not bfloat16:  # convolutions with what follows them in one call; it knows no bfloat16
            traced = torch.jit.optimize_for_inference(traced)

    def logits(pixels):
        with torch.inference_mode():
            return traced(weights.normalised(torch.from_numpy(pixels)).to(kind)).float().numpy()

    return logits


def onnx_variant(weights, int8):
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = weights.threads
    settings.inter_op_num_threads = 1
    model = quantised(weights) if int8 else weights.exported.SerializeToString()
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"pixels": pixels})[0]


def quantised(weights):
    """The model in ONNX with int8 weights and uint8 activations, as bytes."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.batches = iter(range(0, len(weights.calibration), 32))

        def get_next(self):
            start = next(self.batches, None)
            return None if start is None else {"pixels": weights.calibration[start : start + 32]}

    with tempfile.TemporaryDirectory() as folder:
        prepared, target = (Path(folder) / name for name in ("prepared.onnx", "int8.onnx"))
        quant_pre_process(weights.exported, prepared)
        quantize_static(
            prepared,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return target.read_bytes()


VARIANTS = {
    "torch-fp32": lambda weights: torch_variant(weights, False),
    "torch-bf16": lambda weights: torch_variant(weights, True),
    "onnx-fp32": lambda weights: onnx_variant(weights, False),
    "onnx-int8": lambda weights: onnx_variant(weights, True),
}
