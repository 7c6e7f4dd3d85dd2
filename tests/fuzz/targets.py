"""Every parser of the package, and a sound file for each to be damaged: one table for pytest and for atheris.

A format of a data set is here by existing: each kind of file that its builder in `tests/contracts` writes.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import PIL.Image

from tests.contracts.data_files import BUILDERS, TEXTS, TRUTH, encoded, picture, save
from tests.detection.metrics.formats import annotations, write_predictions, write_truth
from visiontasks.config_files import parse_config
from visiontasks.detection.proposals import read_proposals
from visiontasks.errors import LONGEST_LINE, ConfigError, VisionTasksError
from visiontasks.io import json_stream
from visiontasks.io.documents import decode_text, parse_json
from visiontasks.io.files import read_document, read_yaml
from visiontasks.io.images import encode_mask, read_colour_mask, read_image, read_mask, read_size
from visiontasks.io.weights import ModelRecord, load_weights, read_record, save_weights
from visiontasks.ledger import Ledger
from visiontasks.tasks import TASKS, load_task

CONFIGS = Path(__file__).parents[2] / "configs"
MAX_PIXELS = 10_000  # of a damaged picture: how much memory a decoder may ask for is the user's choice
MOST_SECONDS = 5.0  # of the processor, for one input
MOST_BYTES = 1 << 30  # of memory, beyond what is in use before

Build = Callable[[Path], Any]


@dataclass(frozen=True, slots=True)
class Target:
    """A parser.

    build(folder): writes sound files; what it returns is handed to `read`.
    file: the one that is damaged, below the folder.
    read(folder, built): parses it, and whatever is read with it; faults of users are for `attempt`.
    """

    build: Build
    file: str
    read: Callable[[Path, Any], None]

    @property
    def suffix(self) -> str:
        return Path(self.file).suffix


class Trial:
    """The sound files of a target in a folder, one of which is replaced by one input after the other."""

    def __init__(self, target, folder):
        self.target, self.folder = target, folder
        self.built = target.build(folder)
        self.file = folder / target.file
        self.sound = self.file.read_bytes()

    def read(self, content):
        self.file.write_bytes(content)
        start = time.thread_time()
        self.target.read(self.folder, self.built)
        assert time.thread_time() - start < MOST_SECONDS, "too slow"


@contextmanager
def capped_memory():
    """Whoever asks for more than MOST_BYTES gets a MemoryError, which is none of our errors. Linux alone."""
    if sys.platform != "linux":
        yield
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MOST_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def attempt(function, *arguments, **options):
    """What a function returns; None if it refuses its input, which it says in a line (a config: in lines)."""
    try:
        return function(*arguments, **options)
    except VisionTasksError as error:
        lines = str(error).splitlines()
        assert len(lines) == 1 or isinstance(error, ConfigError), f"no line, or several: {error!s}"
        assert max(map(len, lines)) <= LONGEST_LINE + 5, f"a line of {max(map(len, lines))} characters"


def read_source(task, values, ledger):
    """Open a split and read all of it, and what the data commands ask of it."""
    found = load_task(task)
    section = found.config.model_fields["data"].annotation
    config = section.model_validate({**values, "max_pixels": MAX_PIXELS})
    source = attempt(found.open_source, config, "train" if config.train else "test", ledger, None)
    if source is None:
        return
    for index in range(len(source)):
        attempt(source.__getitem__, index)
    if found.data is not None:
        attempt(lambda: list(found.data.examine(source, "train", (32, 32), False)))
        attempt(found.data.count, source)
        attempt(found.data.statistics, source, (32, 32))


def read_data_set(case, root, built):
    """As `train` opens it, and raw, as the data commands do."""
    task, _, rest = case.partition("/")
    values = {"format": rest.partition(",")[0], "root": str(root), **built}
    read_source(task, values, Ledger())
    read_source(task, {**values, "train": None, "test": values["train"]}, Ledger(collects=True))
    if (tools := load_task(task).data) is not None:
        assert isinstance(list(tools.recognise(root)), list)


def data_set_targets():
    """Each kind of text, and the pictures of one format a task."""
    found = {}
    for case, build in BUILDERS.items():
        with tempfile.TemporaryDirectory() as folder:
            build(Path(folder), TRUTH)
            paths = sorted(path.relative_to(folder) for path in Path(folder).rglob("*") if path.is_file())
        kinds = {(path.parent, path.suffix): path.as_posix() for path in paths}
        for (parent, suffix), file in kinds.items():
            if suffix in TEXTS or parent.name in ("masks", "truth", "SegmentationClass", "train_labels"):
                read = partial(read_data_set, case)
                found[f"{case}: {file}"] = Target(lambda root, build=build: build(root, TRUTH), file, read)
    return found


def read_comparison(task, options, root, built):
    evaluator = attempt(load_task(task).compare, *(root / name for name in built), options)
    if evaluator is not None:
        assert all(np.isnan(value) or np.isfinite(value) for value in evaluator.compute().values())


def build_detections(forms, root):
    truth, found = forms
    paths = write_truth(root, truth), write_predictions(root, found, annotations(1, scores=True))
    return tuple(path.relative_to(root) for path in paths)


def build_masks(root):
    for side in ("truth", "found/masks"):
        for name in "ab":
            save(root / side / f"{name}.png", encode_mask(np.arange(12, dtype=np.uint8).reshape(3, 4) // 5))
    images = [{"file": f"in/{name}.jpg", "mask": f"masks/{name}.png"} for name in "ab"]
    document = {"task": "segmentation", "classes": ["x", "y", "z"], "images": images, "skipped": []}
    save(root / "found" / "predictions.json", json.dumps(document))
    return "truth", "found"


def build_labels(root):
    save(root / "truth.csv", "path,label\na/1.jpg,cat\na/2.jpg,dog\n")
    save(root / "found.csv", "path,label,score\na/1.jpg,cat,0.5\na/2.jpg,cat,1\n")
    labels = [{"label": "cat", "class": 0, "score": 0.75}, {"label": "dog", "class": 1, "score": 0.25}]
    images = [{"file": "x/a/1.jpg", "width": 4, "height": 3, "labels": labels}]
    skipped = [{"file": "x/a/2.jpg", "reason": "damaged"}]
    document = {"classes": ["cat", "dog"], "images": images, "skipped": skipped}
    save(root / "found.json", json.dumps(document))
    return "truth.csv", "found.csv"


def build_labels_json(root):
    build_labels(root)
    return "truth.csv", "found.json"


DETECTIONS = [  # truth, predictions, the file that is damaged
    ("coco", "coco", "gt.json"),
    ("coco", "coco", "dt.json"),
    ("coco", "json", "predictions.json"),
    ("voc", "voc", "voc/images/a.xml"),
    ("voc", "voc", "found/images/a.xml"),
    ("yolo", "yolo", "yolo/labels/a.txt"),
    ("yolo", "yolo", "found/labels/a.txt"),
]
MASKS = {"classes": None, "map_class": {}, "ignore": None}
COMPARISONS = {  # results, the damaged file -> task, options, builder
    "segmentation, truth/a.png": ("segmentation", MASKS, build_masks),
    "segmentation, found/predictions.json": ("segmentation", MASKS, build_masks),
    "classification, truth.csv": ("classification", {}, build_labels),
    "classification, found.csv": ("classification", {}, build_labels),
    "classification, found.json": ("classification", {}, build_labels_json),
    **{
        f"detection, {file}": ("detection", {}, partial(build_detections, (truth, found)))
        for truth, found, file in DETECTIONS
    },
}


def comparison_targets():
    return {
        f"evaluate {name}": Target(build, name.partition(", ")[2], partial(read_comparison, task, options))
        for name, (task, options, build) in COMPARISONS.items()
    }


def read_recipe(task, root, _):
    """A run's config: its own faults are all told, and nothing else happens."""
    read = attempt(read_yaml, root / "config.yaml")
    if read is not None:
        values, lines = read
        attempt(parse_config, load_task(task).config, values, file="config.yaml", lines=lines)


def config_targets():
    recipes = {task: next(iter(sorted((CONFIGS / task).glob("*.yaml")))) for task in TASKS}
    return {
        f"config/{task}": Target(
            lambda root, recipe=recipe: save(root / "config.yaml", recipe.read_bytes()),
            "config.yaml",
            partial(read_recipe, task),
        )
        for task, recipe in recipes.items()
    }


def read_picture(suffix, root, _):
    path = root / f"a{suffix}"
    for read in (read_image, read_mask, read_colour_mask):
        attempt(read, path, max_pixels=MAX_PIXELS)
    attempt(read_size, path)


def save_picture(kind, suffix, mode, root):
    image = PIL.Image.fromarray(picture("hen.png")).convert(mode)
    exif = image.getexif()
    exif[0x0112] = 6
    save(
        root / f"a{suffix}",
        encoded(np.asarray(image), kind, exif=exif) if kind != "PPM" else b"P3 1 1 9 1 2 3",
    )


PICTURES = {
    "PNG": (".png", "RGB"),
    "JPEG": (".jpg", "RGB"),
    "WEBP": (".webp", "RGBA"),
    "TIFF": (".tif", "I;16"),
    "GIF": (".gif", "L"),
    "BMP": (".bmp", "RGB"),
    "PPM": (".ppm", "RGB"),
}


def picture_targets():
    return {
        f"picture/{kind}": Target(
            partial(save_picture, kind, suffix, mode), f"a{suffix}", partial(read_picture, suffix)
        )
        for kind, (suffix, mode) in PICTURES.items()
    }


def save_model(root):
    import torch

    record = ModelRecord(
        task="classification",
        model={"name": "classifier", "weights": None},
        input={"size": [8, 8]},
        classes=("cat", "größe"),
        file_ids=(3, "x"),
        options={"temperature": 1.5},
        provenance={"metrics": {"top1": 0.5}},
    )
    tensors = {"a.weight": torch.ones(2, 3), "a.bias": torch.zeros(2), "count": torch.tensor(7)}
    save_weights(root / "m.safetensors", tensors, record)


def read_model(root, _):
    attempt(read_record, root / "m.safetensors")
    attempt(load_weights, root / "m.safetensors")


def read_stream(root, _):
    """Record by record, in pieces of some bytes: the same as in one piece."""
    with mock.patch.object(json_stream, "CHUNK", 16):
        streamed = attempt(lambda: list(json_stream.stream_json(root / "a.json")))
    whole = attempt(
        lambda: parse_json(decode_text((root / "a.json").read_bytes(), "a"), "a", allow_nan=False)
    )
    if streamed is not None and isinstance(whole, dict):
        assert {key for key, *_ in streamed} == set(whole)
    assert streamed is None or whole is not None, "the stream reads what is no JSON"


def save_lists(root):
    images = [{"id": 1, "x": "é\ud83d\ude00"}, -1.5e3, True]
    save(root / "a.json", json.dumps({"info": {"a": None}, "images": images, "none": [], "n": 12}, indent=1))


def save_documents(root):
    save(root / "a.json", '{"a": [1, 2.5, "\\u00e9\\ud83d", null], "b": {"c": {}}}')
    save(root / "a.yaml", "# c\na: 1\nb: [x, 'y', {k: v}]\nc:\n  - d: >\n      text\n    e: |\n      more\n")
    save(root / "a.xml", '<?xml version="1.0"?>\n<a b="c"><d>&lt;</d><!-- c --><e/><![CDATA[x]]></a>')
    save(root / "a.csv", 'a,b,c\n1,"x, y",\n\n2,"""",é\n')


def save_regions(root):
    save(root / "a.json", '{"a.jpg": [[1, 2, 3.5, 4]], "b.jpg": [], "7": [[0, 0, 5, 5], [1, 1, 2, 2]]}')


FILES = {
    "document/json": Target(
        save_documents, "a.json", lambda root, _: attempt(read_document, root / "a.json")
    ),
    "document/yaml": Target(
        save_documents, "a.yaml", lambda root, _: attempt(read_document, root / "a.yaml")
    ),
    "document/xml": Target(save_documents, "a.xml", lambda root, _: attempt(read_document, root / "a.xml")),
    "document/csv": Target(save_documents, "a.csv", lambda root, _: attempt(read_document, root / "a.csv")),
    "document/json, as a stream": Target(save_lists, "a.json", read_stream),
    "weights": Target(save_model, "m.safetensors", read_model),
    "detection/proposals": Target(
        save_regions, "a.json", lambda root, _: attempt(read_proposals.__wrapped__, root / "a.json")
    ),
}

TARGETS: dict[str, Target] = {
    **FILES,
    **picture_targets(),
    **config_targets(),
    **data_set_targets(),
    **comparison_targets(),
}
