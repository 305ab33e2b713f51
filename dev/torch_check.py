"""What dev/torch-check runs: networks and images are made, PyTorch and `firesteel sql` name the images, and the answers are compared.

The images are views of some scenes: of other sizes, in other formats, turned. Weights are random but settled: batch norms have the
statistics of real passes, and the classifier knows the scenes by what the network says of each, so that it is about as sure of
its answers as a trained one. (A random classifier is not: its first two classes are so close that the last bit of a pixel decides.)
Nothing is downloaded here.

A network that is no ResNet is asked as ONNX alone, with and without a softmax at its end, where the environment has ONNX Runtime's library.

Files without loss have to have PyTorch's confidence, too, which is as far from its logits as they are from each other. Of JPEG
files that is told and not judged, because Pillow's decoder and ours differ in the last bits of a pixel.
"""

import argparse
import importlib.util
import io
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import pyarrow
import pyarrow.parquet
import torch
import torchvision
from PIL import Image, ImageOps
from safetensors.torch import save_file

CLASSES = 1000
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
RESIZE, EDGE = 256, 224
# Scenes that the images are views of, as many classes of the network, and how many of them settle its batch norms.
SCENES, SETTLING = 125, 32
AGREEMENT = 0.995
# How far a confidence may be from PyTorch's, as a difference of logarithms: so of logits.
LOGITS = 1e-3
# An entry of EXIF with the orientation, and how an image is turned to be stored with each.
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
# Kinds of files that lose nothing, of those below.
LOSSLESS = (4, 5, 6)


def view(scene, width, height, random):
    """A scene as an image of some size, with noise: smooth shapes, which are the same in each view of it."""
    shapes = numpy.random.default_rng([1, scene])
    coarse = shapes.integers(0, 256, (*shapes.integers(2, 9, 2), 3), dtype=numpy.uint8)
    image = numpy.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), dtype=numpy.int16)
    image = image + random.integers(-12, 13, (height, width, 1))
    return Image.fromarray(image.clip(0, 255).astype(numpy.uint8))


def encoded(index, random):
    """A view of a scene as a file: in one of seven kinds of file, with edges from 60 to 560 pixels."""
    width = int(random.integers(80, 421))
    height = int(width * random.uniform(0.75, 1.33))
    if index % 5 == 0:
        width = height = EDGE
    image = view(index % SCENES, width, height, random)
    file, kind = io.BytesIO(), index % 7
    if kind == 0:
        image.save(file, "JPEG", quality=92)
    elif kind == 1:
        image.save(file, "JPEG", quality=75, progressive=True)
    elif kind == 2:
        exif = Image.Exif()
        exif[ORIENTATION] = orientation = 1 + index // 7 % 8
        if orientation in TURNS:
            image = image.transpose(TURNS[orientation])
        image.save(file, "JPEG", quality=95, subsampling=0, exif=exif)
    elif kind == 3:
        image.convert("L").save(file, "JPEG", quality=90)
    elif kind == 4:
        image.save(file, "PNG")
    elif kind == 5:
        image.quantize(128).save(file, "PNG")
    else:
        image.save(file, "WEBP", lossless=True)
    return file.getvalue()


def pixels(data):
    """u8 [3, 224, 224]: upright, the shorter edge 256, the middle cut out, as torchvision's evaluation does it."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    image = torchvision.transforms.functional.resize(image, RESIZE)
    image = torchvision.transforms.functional.center_crop(image, EDGE)
    return torchvision.transforms.functional.pil_to_tensor(image)


def inputs(files):
    shift, scale = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return torch.stack([(pixels(data).float() / 255 - shift) / scale for data in files])


def scenes(random):
    """Each scene as a file of the network's own size."""
    files = []
    for scene in range(SCENES):
        file = io.BytesIO()
        view(scene, EDGE, EDGE, random).save(file, "PNG")
        files.append(file.getvalue())
    return files


def is_resnet(name):
    return name.startswith("resnet")


def settled(name, files, seed):
    """The network with seeded weights, whose activations are alive and whose first classes are the scenes in `files`."""
    torch.manual_seed(seed)
    model = torchvision.models.get_model(name, num_classes=CLASSES)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0.0, 0.2)
    batches = inputs(files).split(8)
    with torch.no_grad():
        model.train()
        for batch in batches[: SETTLING // 8] * 3:
            model(batch)
        model.eval()
        # The last matrix is the whole classifier of a ResNet, and the end of MobileNet's.
        parent, last = (model, "fc") if is_resnet(name) else (model.classifier, str(len(model.classifier) - 1))
        classifier = getattr(parent, last)
        setattr(parent, last, torch.nn.Identity())
        features = torch.cat([model(batch) for batch in batches])
        setattr(parent, last, classifier)
        # The nearest mean: a class for each scene, and others at random, each where its features are expected.
        middle, spread = features.mean(0), features.std(0) + 1e-3
        means = torch.randn_like(classifier.weight) * 0.5
        means[: len(files)] = (features - middle) / spread
        sure = 8.0 / features.shape[1]
        classifier.weight.copy_(sure * means / spread)
        classifier.bias.copy_(-0.5 * sure * (means**2).sum(1) - classifier.weight @ middle)
    return model


def runtime(folder):
    """Links ONNX Runtime's library into the folder by the name that it is opened by; whether the environment has it."""
    found = importlib.util.find_spec("onnxruntime")
    places = found.submodule_search_locations if found else []
    libraries = [library for place in places for library in sorted(Path(place).glob("capi/libonnxruntime.so.*"))]
    if libraries:
        (folder / "libonnxruntime.so").symlink_to(libraries[0])
    return bool(libraries)


def asked(firesteel, weights, precision, table, count):
    """The class and the confidence that `firesteel sql` gives each image, by number; None where it gives none."""
    query = (
        f"CREATE EXTERNAL TABLE checked STORED AS PARQUET LOCATION '{table}';"
        "SELECT number, (classify(data)).label AS label, (classify(data)).confidence AS confidence FROM checked"
    )
    command = [firesteel, "sql", "--quiet", "--format", "ndjson", "--allow-read", table.parent, "--weights", weights]
    command += ["--precision", precision, "-c", query]
    # Where there is a library of ONNX Runtime, it is beside the images.
    folders = filter(None, [str(table.parent), os.environ.get("LD_LIBRARY_PATH")])
    environment = os.environ | {"LD_LIBRARY_PATH": os.pathsep.join(folders)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"firesteel sql failed:\n{done.stderr}")
    answers = [None] * count
    for line in filter(None, done.stdout.splitlines()):
        row = json.loads(line)
        if row.get("label") is not None:
            answers[row["number"]] = (row["label"], row["confidence"])
    return answers


def exported(model, path):
    """The network as ONNX, for any number of images, in the way that PyTorch has by default: its tensors are in a file beside it."""
    example, free = torch.zeros(2, 3, EDGE, EDGE), {0: torch.export.Dim("images")}
    torch.onnx.export(model, (example,), path, dynamo=True, dynamic_shapes=(free,), external_data=True, verbose=False)


def check(name, options, files, settling, folder):
    """Whether the answers for one network agree, from ONNX and, of a ResNet, from safetensors."""
    model = settled(name, settling, len(name))
    classes = [f"class {index}" for index in range(CLASSES)]
    manifest = {"classes": classes, "input": f"3x{EDGE}x{EDGE}", "mean": MEAN, "std": STD, "resize": f"bilinear crop {RESIZE}"}
    with torch.no_grad():
        batches = [files[at : at + 8] for at in range(0, len(files), 8)]
        expected = torch.cat([model(inputs(batch)).softmax(1) for batch in batches])
    models = [folder / f"{name}.onnx"]
    exported(model, models[0])
    if is_resnet(name):
        models.append(folder / f"{name}.safetensors")
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, models[1], {"format": "pt"})
    else:
        models.append(folder / f"{name}-softmax.onnx")
        exported(torch.nn.Sequential(model, torch.nn.Softmax(1)).eval(), models[1])
    agree = []
    for file in models:
        Path(f"{file}.json").write_text(json.dumps(manifest))
        agree.append(compare(file, options, files, expected, classes))
    return all(agree)


def compare(weights, options, files, expected, classes):
    """Whether the answers of `firesteel` for one file of weights are those expected: probabilities [images, classes]."""
    confidences, numbers = expected.max(1)
    found = asked(options.firesteel, weights, options.precision, weights.parent / "images.parquet", len(files))
    silent = [number for number, answer in enumerate(found) if answer is None]
    same = [n for n, answer in enumerate(found) if answer and answer[0] == classes[numbers[n]]]
    apart = {n: abs(math.log(found[n][1]) - math.log(float(confidences[n]))) for n in same}
    exact, lossy = (max((apart[n] for n in same if (n % 7 in LOSSLESS) == kind), default=0.0) for kind in (True, False))
    known = sum(int(number) == n % SCENES for n, number in enumerate(numbers))
    print(
        f"{weights.name} in {options.precision}: {len(same)} of {len(files)} images have PyTorch's class (of {len(set(numbers.tolist()))} "
        f"that occur; {known} are told by their scene); the logarithm of their confidence, {float(confidences.median()):.2f} in the "
        f"middle, differs by {exact:.1e} at most, of JPEG files by {lossy:.1e}; {len(silent)} have none"
    )
    if silent:
        print(f"without an answer: {', '.join(map(str, silent[:20]))}")
    close = options.precision != "f32" or exact <= LOGITS
    return close and not silent and len(same) >= AGREEMENT * len(files)


def main():
    parser = argparse.ArgumentParser(prog="dev/torch-check", description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--networks", default="resnet18,resnet50,mobilenet_v3_small", help="names of torchvision, with commas in between")
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--firesteel", default="target/release/firesteel", help="the binary")
    options = parser.parse_args()
    options.firesteel = os.path.abspath(options.firesteel)
    if not os.access(options.firesteel, os.X_OK):
        sys.exit(f"there is no {options.firesteel}: run `make release`, or name another with --firesteel")
    random = numpy.random.default_rng(1)
    files = [encoded(index, random) for index in range(options.images)]
    settling = scenes(random)
    with tempfile.TemporaryDirectory() as folder:
        table = pyarrow.table({"number": range(len(files)), "data": pyarrow.array(files, pyarrow.binary())})
        pyarrow.parquet.write_table(table, Path(folder) / "images.parquet", row_group_size=64)
        networks = options.networks.split(",")
        if not runtime(Path(folder)):
            others = [name for name in networks if not is_resnet(name)]
            print(f"not checked, since there is no library of ONNX Runtime: {', '.join(others) or 'nothing'}")
            networks = [name for name in networks if is_resnet(name)]
        agree = [check(name, options, files, settling, Path(folder)) for name in networks]
    sys.exit(0 if all(agree) else 1)


if __name__ == "__main__":
    main()
