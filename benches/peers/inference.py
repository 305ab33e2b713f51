"""Rates and accuracy of the shipped ResNet-18 under PyTorch and ONNX Runtime, on the CPU.

    eval "$(dev/peers env inference)"
    "$FIRESTEEL_BENCH_INFERENCE_PYTHON" benches/peers/inference.py --accuracy

Variants, all from the same weights, batch norm folded into the convolutions:
  torch-fp32   traced, frozen and optimised for inference, channels last
  torch-bf16   weights and activations in bfloat16, traced and frozen, channels last
  onnx-fp32    ONNX Runtime, exported by torch.onnx
  onnx-int8    the same, quantised statically (QDQ): weights int8 by channel, activations uint8
The timed work goes from pixels, u8 [batch, 32, 32, 3], to logits, f32 [batch, 10], and has the normalisation in it.

It prints one line of JSON: `rates` in images a second (of each round, and their median), where the variants take turns in
every round, so that a slow spell of the machine meets all of them; `accuracy` in percent with --accuracy; what it ran on.

With --serve it prints {"ready": true, "variants": [...], ...}; then for each line of standard input,
`VARIANT BATCH SECONDS`, it runs that long and prints {"variant", "batch", "images", "seconds"}, or {"error": ...}; the end
of its input ends it.
"""

import argparse
import contextlib
import io
import json
import platform
import statistics
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True

import shared  # noqa: E402
from variants import CALIBRATION, VARIANTS  # noqa: E402

ASSETS = Path(__file__).resolve().parents[2] / "pipeline/assets"
BATCHES = (1, 16, 64, 256)
# Before the clock starts: new shapes make memory plans and kernels.
WARM_UP = 3
HIGHEST_BATCH = 4096


def parse(arguments=None):
    about, _, rest = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="inference.py", description=about, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    weights, images = ASSETS / "resnet18-cifar10.safetensors", ASSETS / "cifar10-test.parquet"
    parser.add_argument("--weights", type=Path, default=weights, metavar="FILE", help="safetensors (the shipped ones)")
    parser.add_argument("--images", type=Path, default=images, metavar="FILE", help="Parquet with columns jpeg and label")
    parser.add_argument(
        "--calibration", type=Path, metavar="FILE", help=f"the same, of which {CALIBRATION} calibrate onnx-int8"
    )
    parser.add_argument("--variants", type=variants, default=tuple(VARIANTS), metavar="NAME,NAME", help="all without it")
    parser.add_argument("--batches", type=batches, default=BATCHES, metavar="N,N", help="sizes (1,16,64,256)")
    parser.add_argument("--seconds", type=seconds, default=2.0, metavar="S", help="of each measurement (2)")
    parser.add_argument("--rounds", type=shared.positive, default=3, metavar="N", help="of all measurements (3)")
    parser.add_argument(
        "--threads", type=shared.positive, default=shared.cores(), metavar="N", help="as many as cores without it"
    )
    parser.add_argument("--accuracy", action="store_true", help="over all images, of each variant")
    parser.add_argument("--serve", action="store_true", help="measure what the lines of standard input name")
    return parser.parse_args(arguments)


def variants(text):
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in VARIANTS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(VARIANTS)}")
    return names


def batch(text):
    if not text.isdecimal() or not 1 <= int(text) <= HIGHEST_BATCH:
        raise argparse.ArgumentTypeError(f"{text!r} is not a batch size, 1 to {HIGHEST_BATCH}")
    return int(text)


def batches(text):
    return tuple(batch(part.strip()) for part in text.split(","))


def seconds(text):
    with contextlib.suppress(ValueError):
        if 0 < float(text) <= 3600:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, above 0 and up to 3600")


def decoded(path, limit=None):
    """Pixels u8 [n, 32, 32, 3] and labels of the first `limit` images, of all without one."""
    import numpy as np
    import pyarrow.parquet as parquet
    from PIL import Image

    shared.existing(path, "images as Parquet, with columns jpeg and label")
    table = parquet.read_table(path, columns=["label", "jpeg"]).slice(0, limit)
    pixels = [np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")) for jpeg in table["jpeg"].to_pylist()]
    return np.ascontiguousarray(np.stack(pixels)), np.asarray(table["label"])


def measured(logits, pixels, size, wanted):
    """(images, seconds) of at least `wanted` seconds of batches, which walk through the pixels."""
    starts = range(0, max(len(pixels) - size, 0) + 1, size)
    work = [pixels[start : start + size] for start in starts]
    if len(work[0]) < size:
        raise shared.Unclear(f"a batch of {size} needs as many images, and there are {len(pixels)}")
    for number in range(WARM_UP):
        logits(work[number % len(work)])
    number, began = 0, time.monotonic()
    while True:
        logits(work[number % len(work)])
        number += 1
        spent = time.monotonic() - began
        if spent >= wanted:
            return number * size, spent


def answer(models, pixels, line):
    words = line.split()
    if len(words) != 3:
        raise shared.Unclear(f"{line!r} is not VARIANT BATCH SECONDS")
    name, size, wanted = words
    if name not in models:
        raise shared.Unclear(f"{name!r} is none of {', '.join(models)}")
    size, wanted = batch(size), seconds(wanted)
    images, spent = measured(models[name], pixels, size, wanted)
    return {"variant": name, "batch": size, "images": images, "seconds": spent}


def rates(models, pixels, options):
    found = {(name, size): [] for size in options.batches for name in models}
    for _ in range(options.rounds):
        for (name, size), rounds in found.items():
            images, spent = measured(models[name], pixels, size, options.seconds)
            rounds.append(images / spent)
    return [
        {"variant": name, "batch": size, "images_per_second": statistics.median(rounds), "rounds": rounds}
        for (name, size), rounds in found.items()
    ]


def accuracy(logits, pixels, labels, size=250):
    right = 0
    for start in range(0, len(pixels), size):
        found = logits(pixels[start : start + size]).argmax(1)
        right += int((found == labels[start : start + size]).sum())
    return 100.0 * right / len(pixels)


def built(options):
    """The models by name, the pixels and labels to run them on, and what is to be told of them."""
    import onnxruntime
    import torch
    from variants import Weights

    torch.set_num_threads(options.threads)
    pixels, labels = decoded(options.images, None if options.accuracy else HIGHEST_BATCH)
    told = {
        "variants": list(options.variants),
        "threads": options.threads,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "onnxruntime": onnxruntime.__version__},
    }
    calibration = pixels[:CALIBRATION]
    if "onnx-int8" in options.variants:
        told["calibration"] = {"images": len(calibration), "from": "the first of --images, which accuracy is measured on too"}
        if options.calibration:
            calibration, _ = decoded(options.calibration, CALIBRATION)
            told["calibration"] = {"images": len(calibration), "from": options.calibration.name}
    weights = Weights(shared.existing(options.weights, "the weights as safetensors"), ASSETS, options.threads, calibration)
    return {name: VARIANTS[name](weights) for name in options.variants}, pixels, labels, told


def main(arguments=None):
    options = parse(arguments)
    began = time.monotonic()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # the exporter says how far it is
            models, pixels, labels, told = built(options)
            if options.accuracy:
                told["accuracy"] = {name: accuracy(logits, pixels, labels) for name, logits in models.items()}
                told["accuracy_images"] = len(pixels)
    except ImportError as error:
        print(f"error: {error}: run this with the Python that `dev/peers env inference` names", file=sys.stderr)
        return 1
    except Exception as error:
        print(f"error: {shared.complaint(error)}", file=sys.stderr)
        return 1
    told["setup_seconds"] = time.monotonic() - began
    if options.serve:
        shared.serve(told, lambda line: answer(models, pixels, line))
        return 0
    print(json.dumps({"rates": rates(models, pixels, options), **told}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
