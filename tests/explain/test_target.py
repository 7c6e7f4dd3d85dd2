"""What `--target` means, and on the picture; messages name what was found."""

import numpy as np
import pytest
import torch

from tests.explain.tiny import CLASSES
from visiontasks.classes import ClassMap
from visiontasks.classification.targets import settle_aim as settle_class
from visiontasks.detection.models.region_head import NamedRegions
from visiontasks.detection.targets import settle_aim as settle_detection
from visiontasks.detection.targets import target_score as detection_score
from visiontasks.detection.types import Detections
from visiontasks.errors import UsageError
from visiontasks.explain.target import parse_aim
from visiontasks.segmentation.targets import settle_aim as settle_place
from visiontasks.segmentation.targets import target_score as place_score
from visiontasks.types import Aim, ImageInfo


@pytest.mark.parametrize(
    ("text", "aim"),
    [
        (None, Aim()),
        ("", Aim()),
        ("dog", Aim(1)),
        ("#2", Aim(detection=2)),
        ("dog#0", Aim(1, 0)),
        ("12,34", Aim(point=(12, 34))),
        ("rocket@1, 2", Aim(2, point=(1, 2))),
    ],
)
def test_a_target_is_read(text, aim):
    assert parse_aim(text, CLASSES) == aim


def test_a_class_may_be_called_anything():
    assert parse_aim("1,2", ClassMap(("#3", "1,2", "a#1"))) == Aim(1)
    assert parse_aim("#3", ClassMap(("#3", "1,2", "a#1"))) == Aim(0)
    assert parse_aim("a#1#4", ClassMap(("#3", "1,2", "a#1"))) == Aim(2, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dgo", "unknown class 'dgo'; did you mean 'dog'"),
        ("dgo#1", "unknown class 'dgo'; did you mean 'dog'"),
        ("#x", "expected a target CLASS, #DETECTION.*found '#x'"),
        ("#-1", "found '#-1'"),
        ("dog@7", "found 'dog@7'"),
    ],
)
def test_another_target_is_refused(text, message):
    with pytest.raises(UsageError, match=message):
        parse_aim(text, CLASSES)


def test_a_classifier_has_classes_only():
    logits = torch.tensor([[0.0, 3.0, 1.0]])
    assert settle_class(None, logits, [], Aim(), {}, CLASSES) == Aim(1)
    assert settle_class(None, logits, [], Aim(2), {}, CLASSES) == Aim(2)
    for aim, found in ((Aim(detection=4), "detection #4"), (Aim(point=(5, 6)), "the point 5,6")):
        with pytest.raises(UsageError, match=f"expected a class .* found {found}"):
            settle_class(None, logits, [], aim, {}, CLASSES)


def test_a_segmentation_is_asked_for_a_class_or_a_pixel():
    classes = ClassMap(("background", "road", "car"))
    info = ImageInfo("a.png", 8, 12, 4, 6)  # half the size; padded to 5 x 8
    logits = torch.zeros(1, 3, 5, 8)
    logits[0, 0], logits[0, 1, :2, :3], logits[0, 2, 3, 5] = 1, 4, 7
    logits[0, 2, 4:], logits[0, 2, :, 6:] = 9, 9  # in the padding
    settle = lambda aim: settle_place(None, logits, [info], aim, {}, classes)  # noqa: E731
    largest = settle(Aim())
    assert largest.class_index == 1 and largest.where.nonzero().tolist() == [
        [y, x] for y in range(2) for x in range(3)
    ]
    assert place_score(None, logits, [info], largest).tolist() == [4.0]
    assert settle(Aim(2)).where.nonzero().tolist() == [[3, 5]]
    pixel = settle(Aim(point=(7, 11)))
    assert (pixel.class_index, pixel.point, pixel.where.nonzero().tolist()) == (2, (7, 11), [[3, 5]])
    other = settle(Aim(0, point=(0, 0)))
    assert other.class_index == 0 and float(place_score(None, logits, [info], other)) == 1.0
    with pytest.raises(UsageError, match=r"inside of a\.png \(height 8, width 12\), found 8,0"):
        settle(Aim(point=(8, 0)))
    with pytest.raises(UsageError, match="found detection #0"):
        settle(Aim(detection=0))
    logits[0, 1] = -1
    with pytest.raises(UsageError, match=r"found 'road' on none; 'car' has the most"):
        settle(Aim(1))


class Detector:
    """Says the same of every picture."""

    def decode(self, raw, infos, options):
        boxes = np.array([[2.0, 2, 10, 10], [20, 4, 30, 16], [0, 0, 4, 4]])
        return [Detections(boxes, np.array([1, 0, 1]), np.array([0.9, 0.8, 0.6]))]

    class config:
        class head:
            box_weights = (1, 1, 1, 1)


def test_a_detection_is_asked_for_by_its_number():
    info = ImageInfo("a.png", 20, 40, 40, 80, pad_left=3)
    settle = lambda aim: settle_detection(  # noqa: E731
        Detector(), None, [info], aim, {"confidence": 0.5}, CLASSES
    )
    assert (settle(Aim()).class_index, settle(Aim()).where.tolist()) == (1, [7, 4, 23, 20])
    assert settle(Aim(detection=1)).where.tolist() == [43, 8, 63, 32]
    assert settle(Aim(1, 1)).where.tolist() == [3, 0, 11, 8]
    third = settle(Aim(detection=2))
    assert (third.class_index, third.detection) == (1, 1)  # the second of its class, as it is asked for
    with pytest.raises(UsageError, match=r"at least 2 detections of 'cat' on a\.png, found 1 above .* 0\.5"):
        settle(Aim(0, 1))
    with pytest.raises(UsageError, match=r"at least 4 detections on a\.png, found 3"):
        settle(Aim(detection=3))
    with pytest.raises(UsageError, match="found the point 1,2"):
        settle(Aim(point=(1, 2)))


def test_the_score_is_that_of_the_candidate_that_fits():
    """Of two that fit equally the surer one; never one that is not there."""
    info = ImageInfo("a.png", 40, 80, 40, 80)
    regions = torch.tensor([[[0.0, 0, 9, 9], [20, 4, 30, 16], [20, 4, 30, 16], [20, 4, 30, 16]]])
    logits = torch.arange(16.0).view(1, 4, 4)
    valid = torch.tensor([[True, True, True, False]])
    raw = NamedRegions(regions, valid, logits, torch.zeros(1, 4, 3, 4), None)
    aim = Aim(2, 0, where=torch.tensor([20.0, 4, 30, 15]))
    assert detection_score(Detector(), raw, [info], aim).tolist() == [float(logits[0, 2, 2])]
