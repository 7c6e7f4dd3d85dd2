"""A small data set in every format of every task: one builder a format, for the suite in `test_sources`.

A builder gets {file name: class}, writes the pictures and what says their classes, and returns the rest of
the data section. Texts are plain; the suite itself adds byte order marks, carriage returns and faults.
"""

import hashlib
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image

from visiontasks.io.images import encode_mask
from visiontasks.segmentation.datasets import cityscapes, voc

HEIGHT, WIDTH = 5, 7
BOX = (1, 1, 5, 4)  # where a picture shows its class: xyxy, px, half open
WHOLE = (0, 0, WIDTH, HEIGHT)
TRUTH = {"žirafa 1.png": "dog", "bee.png": "cat", "hen.png": "dog"}
NAMES = (*TRUTH, "doe.png")
TEXTS = (".csv", ".json", ".txt", ".xml", ".yaml")


def picture(name):
    """(H, W, 3) uint8, another one for each name and in each of eight orientations."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels[..., 0] = hashlib.sha256(name.encode()).digest()[0]
    pixels[..., 1], pixels[..., 2] = np.mgrid[:HEIGHT, :WIDTH] * 30
    return pixels


def name_of(image):
    """The name whose picture this is."""
    (name,) = (name for name in NAMES if np.array_equal(image, picture(name)))
    return name


def number_of(name):
    """A COCO id that does not depend on the order of a list."""
    return 1 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:2])


def picture_bytes(name):
    return encoded(picture(name))


def encoded(pixels, kind="PNG", **options):
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def save(path: Path, content: bytes | str):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


STORED = {  # EXIF's orientation -> how the upright picture is turned to be stored
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_90,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_270,
}


def turned_bytes(name, orientation):
    """A picture that is stored turned, and says so."""
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    stored = PIL.Image.fromarray(picture(name)).transpose(STORED[orientation])
    return encoded(np.asarray(stored), exif=exif)


def header_of(height, width):
    """A PNG that says that it is large."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b""))]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (*chunks, (b"IEND", b""))
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tree(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def path_of(root, name):
    """Where a format keeps a picture."""
    (path,) = (path for path, content in tree(root).items() if content == picture_bytes(name))
    return path


def edit_texts(root, edit):
    """Change the files of text, if the edit does. Returns: whether some are not as before."""
    before = tree(root)
    for path, content in before.items():
        if path.suffix in TEXTS:
            path.write_bytes(edit(content))
    return before != tree(root)


def stem_of(name):
    return name.removesuffix(".png")


def build_folder(root, truth):
    for name, label in truth.items():
        save(root / "train" / label / name, picture_bytes(name))
    return {"train": "train"}


def build_labels_csv(root, truth):
    for name in truth:
        save(root / "pictures" / name, picture_bytes(name))
    rows = "".join(f"pictures/{name},{label}\n" for name, label in truth.items())
    save(root / "train.csv", f"path,label\n{rows}")
    return {"train": "train.csv"}


def build_tiny_imagenet(root, truth):
    wnids = {"cat": "n1", "dog": "n2"}
    for name in truth:
        save(root / "val" / "images" / name, picture_bytes(name))
    rows = "".join(f"{name}\t{wnids[label]}\t0\t0\t1\t1\n" for name, label in truth.items())
    save(root / "val" / "val_annotations.txt", rows)
    save(root / "wnids.txt", "n2\nn1\n")
    save(root / "words.txt", "n1\tcat, tom\nn2\tdog\n")
    return {"train": "val"}


def build_tiny_imagenet_boxes(root, truth):
    left, top, right, bottom = BOX
    values = build_tiny_imagenet(root, truth)
    rows = root / "val" / "val_annotations.txt"  # from 0, inclusive
    box = f"{left}\t{top}\t{right - 1}\t{bottom - 1}"
    rows.write_text(rows.read_text().replace("0\t0\t1\t1", box))
    return values


def coco_document(truth, annotation):
    """COCO's document; annotation: what it says of each object besides ids."""
    categories = {"cat": 2, "dog": 18}
    images = [{"id": number_of(name), "file_name": name, "height": HEIGHT, "width": WIDTH} for name in truth]
    objects = [
        {"id": i, "image_id": number_of(name), "category_id": categories[label], "iscrowd": 0, **annotation}
        for i, (name, label) in enumerate(sorted(truth.items()), start=1)
    ]
    named = [{"id": ident, "name": name} for name, ident in categories.items()]
    return json.dumps({"info": {}, "images": images, "annotations": objects, "categories": named}, indent=1)


def build_boxes_coco(root, truth):
    for name in truth:
        save(root / "images" / name, picture_bytes(name))
    left, top, right, bottom = BOX
    bbox = [left, top, right - left, bottom - top]
    save(root / "annotations" / "train.json", coco_document(truth, {"bbox": bbox, "area": 12}))
    return {"train": "annotations/train.json"}


def build_boxes_voc(root, truth):
    left, top, right, bottom = BOX
    corners = {"xmin": left + 1, "ymin": top + 1, "xmax": right, "ymax": bottom}  # from 1, inclusive
    box = "".join(f"<{key}>{value}</{key}>" for key, value in corners.items())
    size = f"<size>\n<width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    for name, label in truth.items():
        save(root / "JPEGImages" / name, picture_bytes(name))
        shown = f"<object><name>{label}</name><difficult>0</difficult><bndbox>{box}</bndbox></object>"
        text = f"<annotation>\n<filename>{name}</filename>\n{size}\n{shown}\n</annotation>\n"
        save(root / "Annotations" / f"{stem_of(name)}.xml", text)
    save(root / "ImageSets" / "Main" / "train.txt", "".join(f"{stem_of(name)}\n" for name in truth))
    return {"train": "train"}


def build_boxes_voc_folder(root, truth):
    build_boxes_voc(root, truth)
    (root / "ImageSets" / "Main" / "train.txt").unlink()
    return {"train": "Annotations"}


def build_yolo(root, truth):
    left, top, right, bottom = BOX
    sides = ((left + right) / 2 / WIDTH, (top + bottom) / 2 / HEIGHT)
    sides += ((right - left) / WIDTH, (bottom - top) / HEIGHT)
    for name, label in truth.items():
        save(root / "images" / "train" / name, picture_bytes(name))
        row = " ".join(map(str, (("cat", "dog").index(label), *sides)))
        save(root / "labels" / "train" / f"{stem_of(name)}.txt", f"{row}\n")
    save(root / "data.yaml", "path: .\ntrain: images/train\nnames: [cat, dog]\n")
    return {"train": "train"}


def build_yolo_list(root, truth):
    build_yolo(root, truth)
    save(root / "data.yaml", "train: train.txt\nnames:\n  0: cat\n  1: dog\n")
    save(root / "train.txt", "".join(f"./images/train/{name}\n" for name in truth))
    return {"train": "train"}


def build_boxes_csv(root, truth):
    for name in truth:
        save(root / "pictures" / name, picture_bytes(name))
    box = ",".join(map(str, BOX))
    rows = "".join(f"pictures/{name},{box},{label}\n" for name, label in truth.items())
    save(root / "train.csv", f"path,x1,y1,x2,y2,label\n{rows}")
    return {"train": "train.csv"}


def mask_of(value):
    """(H, W) uint8: a value in the box, 0 around it."""
    left, top, right, bottom = BOX
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[top:bottom, left:right] = value
    return mask


def build_masks(root, truth):
    for name, label in truth.items():
        save(root / "images" / "train" / name, picture_bytes(name))
        save(root / "masks" / "train" / name, encoded(mask_of(("", "cat", "dog").index(label))))
    save(root / "classes.txt", "background\ncat\ndog\n")
    return {"train": "train"}


def build_colour_masks(root, truth):
    colours = np.array([(0, 0, 0), (128, 0, 7), (1, 2, 3)], dtype=np.uint8)
    for name, label in truth.items():
        save(root / "train" / name, picture_bytes(name))
        save(root / "train_labels" / name, encoded(colours[mask_of(("", "cat", "dog").index(label))]))
    save(root / "colours.csv", "name,r,g,b\nbackground,0,0,0\ncat,128,0,7\ndog,1,2,3\n")
    return {"train": "train", "colours": "colours.csv"}


def build_mask_list(root, truth):
    for name, label in truth.items():
        save(root / "pictures" / name, picture_bytes(name))
        save(root / "truth" / name, encoded(mask_of(("", "cat", "dog").index(label))))
    save(root / "train.txt", "".join(f"pictures/{name}\ttruth/{name}\n" for name in truth))
    return {"train": "train.txt", "ids": {"background": 0, "cat": 1, "dog": 2}}


def build_masks_voc(root, truth):
    for name, label in truth.items():
        save(root / "JPEGImages" / name, picture_bytes(name))
        save(root / "SegmentationClass" / name, encode_mask(mask_of(voc.CLASSES.index(label))))
    save(root / "ImageSets" / "Segmentation" / "train.txt", "".join(f"{stem_of(name)}\n" for name in truth))
    return {"train": "train"}


def build_cityscapes(root, truth):
    renamed = {"road": "cat", "sidewalk": "dog"}
    values = {new: cityscapes.CLASSES[old] for old, new in renamed.items()}
    for name, label in truth.items():
        base = f"train/Ústí nad Labem/{stem_of(name)}"
        save(root / "leftImg8bit" / f"{base}_leftImg8bit.png", picture_bytes(name))
        save(root / "gtFine" / f"{base}_gtFine_labelIds.png", encoded(mask_of(values[label])))
    return {"train": "train", "classes": renamed}


def build_masks_coco(root, truth):
    left, top, right, bottom = BOX
    polygon = [left, top, right, top, right, bottom, left, bottom]
    return build_segmentations(root, truth, [polygon])


def build_run_lengths(root, truth):
    edges = np.flatnonzero(np.diff(mask_of(1).ravel(order="F").astype(int), prepend=0))
    runs = np.diff([0, *edges, HEIGHT * WIDTH]).tolist()  # column by column, 0 first
    return build_segmentations(root, truth, {"size": [HEIGHT, WIDTH], "counts": runs})


def build_segmentations(root, truth, segmentation):
    for name in truth:
        save(root / "images" / name, picture_bytes(name))
    save(root / "annotations" / "train.json", coco_document(truth, {"segmentation": segmentation}))
    return {"train": "annotations/train.json"}


BUILDERS = {  # task/format, a variant -> builder
    "classification/folder": build_folder,
    "classification/csv": build_labels_csv,
    "classification/tiny-imagenet": build_tiny_imagenet,
    "detection/coco": build_boxes_coco,
    "detection/voc": build_boxes_voc,
    "detection/voc, a folder": build_boxes_voc_folder,
    "detection/yolo": build_yolo,
    "detection/yolo, a list": build_yolo_list,
    "detection/csv": build_boxes_csv,
    "detection/crops": build_folder,
    "detection/tiny-imagenet": build_tiny_imagenet_boxes,
    "segmentation/masks": build_masks,
    "segmentation/colour": build_colour_masks,
    "segmentation/list": build_mask_list,
    "segmentation/voc": build_masks_voc,
    "segmentation/cityscapes": build_cityscapes,
    "segmentation/coco": build_masks_coco,
    "segmentation/coco, run lengths": build_run_lengths,
}


def shown_class(target, classes):
    return classes.names[target], None


def shown_box(target, classes):
    (label,), (box,) = target.labels.tolist(), target.boxes.tolist()
    return classes.names[label], tuple(box)


def shown_pixels(target, classes):
    assert target.dtype == np.uint8
    assert target.shape == (HEIGHT, WIDTH)
    (name,) = (name for name in ("cat", "dog") if (target == classes.index(name)).any())
    rows, columns = np.nonzero(target == classes.index(name))
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert len(rows) == (box[2] - box[0]) * (box[3] - box[1])
    return name, box


SHOWN = {  # task -> (the truth of a sample, classes) -> the class that it shows, and where
    "classification": shown_class,
    "detection": shown_box,
    "segmentation": shown_pixels,
}
PLACES = {"classification": None, "detection": BOX, "segmentation": BOX, "detection/crops": WHOLE}
