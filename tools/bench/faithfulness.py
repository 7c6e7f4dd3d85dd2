"""Do a model's explanations fall on what they are of? A table of methods, over pictures with known places.

pointing   share of the pictures on which the map's maximum lies on the object (up to 3% of the longer side
           beside it): of a classifier the box of the true class, of a detector the true box of its surest
           detection that is right (IoU 0.5), of a segmentation the true pixels of a class that is both true
           and predicted, drawn by the seed.
deletion   area under the true class's probability while the map's best pixels turn to the mean colour.
insertion  the same while they turn sharp on the blurred picture. Both of classifiers only.

Behind each number the standard error of the mean. The last rows are of maps that do not look at the network.
Tiny ImageNet has a box a picture; other classifiers' data have none, and no pointing. Classes are joined by
name; pictures of a class that the network does not have, or without such an object, are left out and counted.

python tools/bench/faithfulness.py runs/classification/tiny tiny.yaml --split val --method grad-cam saliency
python tools/bench/faithfulness.py runs/detection/bccd
"""

import argparse
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np

from visiontasks import api
from visiontasks.errors import UsageError
from visiontasks.explain.faithfulness import (
    BASELINES,
    TOLERANCE,
    box_region,
    class_probability,
    deletion,
    insertion,
    pointing,
)
from visiontasks.explain.picture import METHODS, Method
from visiontasks.explain.robustness import choose_pictures
from visiontasks.explain.target import ask
from visiontasks.ledger import Ledger
from visiontasks.ops.boxes import iou_matrix
from visiontasks.types import Aim

RIGHT = 0.5  # IoU of a detection with the true box


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights")
    parser.add_argument("data", nargs="?", help="a DATA.yaml; by default the model's own data")
    parser.add_argument("--split", default="test", choices=["train", "val", "test"])
    parser.add_argument(
        "--method", nargs="+", choices=list(METHODS), help="by default grad-cam and hires-cam"
    )
    parser.add_argument("--layer", help="of the cams; by default as `visiontasks explain`")
    parser.add_argument("--max-images", type=int, default=100)
    parser.add_argument("--steps", type=int, default=32, help="of deletion and insertion")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="of pointing, of the longer side")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of pictures and classes")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    model = api.load(options.weights, device=options.device, precision="fp32")
    source = model.task.open_source(api.data_section(model, options.data, {}), options.split, Ledger(), None)
    places = choose_pictures(len(source), options.max_images, options.seed)
    numbers, left_out = measure(model, source, places, options)
    count = len(places) - left_out
    print(f"{model.name} on {options.split}: {count} of {len(source)} pictures, {left_out} left out")
    show(numbers)


def measure(model, source, places, options):
    """{method: {number: values, one a picture}}, and how many pictures were left out."""
    names = options.method or ["grad-cam", "hires-cam"]
    maps = {name: map_of(Method(name=name, layer=options.layer)) for name in names} | dict(BASELINES)
    numbers = {name: defaultdict(list) for name in maps}
    left_out = 0
    for place in places:
        try:
            question = QUESTIONS[model.task.name](model, source, place, options.seed)
        except UsageError:  # a class that is seen in original pixels only
            question = None
        if question is None:
            left_out += 1
            continue
        subject, region = question
        for name, values_of in maps.items():
            values = values_of(subject)
            row = numbers[name]
            if region is not None:
                row["pointing"].append(pointing(subject, values, region, options.tolerance))
            if model.task.name == "classification":
                probability = class_probability(subject, model.opened.setting.options)
                how = {"steps": options.steps, "seed": options.seed + place}
                row["deletion"].append(deletion(probability, subject, values, **how))
                row["insertion"].append(insertion(probability, subject, values, **how))
    return numbers, left_out


def map_of(method):
    return lambda subject: METHODS[method.name](subject, method)[0]


def show(numbers):
    columns = list(next(iter(numbers.values())))
    print(f"{'map':<22}" + "".join(f"{column:>18}" for column in columns))
    for name, row in numbers.items():
        cells = []
        for column in columns:
            values = np.array(row[column])
            error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
            cells.append(f"{values.mean():.3f} ± {error:.3f}")
        print(f"{name:<22}" + "".join(f"{cell:>18}" for cell in cells))


def asked(model, sample, aim):
    """The picture before the network. Gives a `Subject`."""
    opened = model.opened
    batch = opened.batch_of(sample.image, sample.image_id)
    return ask(model.task, opened.network, batch, aim, opened.setting.options, model.classes)


def true_class(model, source, place, seed):
    """Of the picture's class; its box where the data set has one."""
    sample = source[place]
    name = source.classes.names[sample.target]
    if name not in model.classes.names:
        return None
    box = boxes_beside(source.root / source.files[place]).get(Path(source.files[place]).name)
    region = None if box is None else box_region([box], sample.image.shape[:2])
    return asked(model, sample, Aim(model.classes.names.index(name))), region


def boxes_beside(picture):
    """Tiny ImageNet's boxes of a folder of pictures, {file name: xyxy}: its corners belong to the box."""
    folder = picture.parent.parent
    return _read_boxes(folder / "val_annotations.txt") or _read_boxes(folder / f"{folder.name}_boxes.txt")


@cache
def _read_boxes(file):
    rows = [line.split("\t") for line in file.read_text().splitlines()] if file.exists() else []
    boxes = {row[0]: [float(value) for value in row[-4:]] for row in rows if len(row) >= 5}
    return {name: (x1, y1, x2 + 1, y2 + 1) for name, (x1, y1, x2, y2) in boxes.items()}


def right_detection(model, source, place, seed):
    """The surest detection that a true box of its class overlaps by half; that box."""
    sample = source[place]
    found, truth = model(sample.image), sample.target
    true_names = np.array([source.classes.names[label] for label in truth.labels], dtype=object)
    for number, label in enumerate(found.labels):
        boxes = truth.boxes[true_names == model.classes.names[label]]
        if not len(boxes):
            continue
        overlaps = iou_matrix(found.boxes[number : number + 1], boxes)[0]
        if overlaps.max() >= RIGHT:
            region = box_region([boxes[overlaps.argmax()]], sample.image.shape[:2])
            return asked(model, sample, Aim(detection=number)), region
    return None


def drawn_class(model, source, place, seed):
    """A class that some pixels both are and are predicted as; the pixels that are."""
    sample = source[place]
    predicted = {model.classes.names[label] for label in np.unique(model(sample.image).mask)}
    true = {name: index for index, name in enumerate(source.classes.names) if (sample.target == index).any()}
    names = sorted(predicted & set(true) - {"background"})
    if not names:
        return None
    name = names[np.random.default_rng([seed, place]).integers(len(names))]
    return asked(model, sample, Aim(model.classes.names.index(name))), sample.target == true[name]


QUESTIONS = {"classification": true_class, "detection": right_detection, "segmentation": drawn_class}

if __name__ == "__main__":
    main()
