"""The config of a detection run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from visiontasks.backbones.section import BackboneSection
from visiontasks.config import (
    BatchSize,
    DataSection,
    Fraction,
    InputSection,
    Positive,
    RunConfig,
    Section,
    Side,
    TrainConfig,
)
from visiontasks.detection.region_sections import (
    AnchorConfig,
    BatchNormConfig,
    HeadConfig,
    ProposalConfig,
    PyramidConfig,
    SamplingConfig,
    SecondLookConfig,
)

Factor = Annotated[float, Field(gt=0)]


class ScenesConfig(Section):
    """Pictures composed of parts of a split's pictures at many sizes, with the boxes that stay in sight.

    The scenes of a split are a function of data.seed; the test split's pictures stay as they are.
    """

    train: Positive = Field(12_000, description="scenes an epoch is of, the same in each")
    val: Positive = Field(1000, description="scenes to validate on")
    size: Side = Field(256, ge=32, description="height and width of a scene, pixels")


class DataConfig(DataSection):
    """Which pictures and boxes, and how they are split. On its own it is a DATA.yaml."""

    format: Literal["coco", "voc", "yolo", "csv", "crops", "tiny-imagenet"] = Field(
        "coco",
        description="coco (JSON), voc (XML), yolo (txt), csv (path,x1,y1,x2,y2,label), crops (one folder a "
        "class, with `background`) or tiny-imagenet",
    )
    images: str | None = Field(
        None, description="folder of the pictures under root (coco, voc, csv); null = where they usually are"
    )
    scenes: ScenesConfig | None = Field(
        None, description="train and validate on scenes composed of the pictures; null = on these themselves"
    )

    @field_validator("images")
    @classmethod
    def _check_images(cls, value: str | None, info: ValidationInfo) -> str | None:
        data_format = info.data.get("format")
        if value is not None and data_format in ("yolo", "crops", "tiny-imagenet"):
            raise ValueError(f"null with format {data_format}, whose splits say where the pictures are")
        return value


class RegionsConfig(Section):
    """Where regions for Fast R-CNN come from: merged extremal regions of the picture, or a file."""

    file: str | None = Field(
        None,
        description="JSON {image id: [[x1, y1, x2, y2], ...]}, original pixels; if relative, under "
        "$VISIONTASKS_DATA or here; null = found in the picture",
    )
    limit: Positive = Field(2000, description="regions a picture, the most stable first")
    side: Positive = Field(160, description="longer side that a picture is shrunk to, to be searched")
    levels: Positive = Field(14, description="brightnesses and saturations that the picture is cut at")
    radii: tuple[Fraction, ...] = Field(
        (0.0, 0.0125, 0.025, 0.04, 0.055, 0.07, 0.085, 0.1),
        min_length=1,
        description="of the erosions that take regions apart, as shares of the shorter side; 0 = none",
    )
    least: Fraction = Field(0.04, description="least side of a region, as a share of the shorter side")


class InputConfig(InputSection):
    """What the network is fed with; a weights file keeps it."""

    size: tuple[Side, Side] = Field(
        (416, 416), description="height and width that a picture must fit into, pixels; see resize"
    )
    resize: Literal["fit", "shorter", "stretch"] = Field(
        "fit",
        description="fit (as large as fits into size), stretch (to size), or torchvision's shorter: the "
        "shorter side becomes the smaller number, unless the longer side would exceed the larger",
    )
    proposals: RegionsConfig | None = Field(
        None, description="regions that fast_rcnn looks at; null = none (for fast_rcnn the default ones)"
    )


class WindowsConfig(Section):
    """The windows that a sliding-window detector is trained on, cut from each training picture.

    Overlaps are those of the window's core (the window less its context) with an object's box.
    """

    size: tuple[Side, Side] | None = Field(None, description="always model.window, which it is filled from")
    context: float | None = Field(None, description="always model.context, which it is filled from")
    crops: bool | None = Field(
        None, description="a picture is one object, or background; always whether data.format is crops"
    )
    count: Positive = Field(64, description="windows a picture and epoch")
    positives: Fraction = Field(0.4, description="share of them that show an object")
    positive_iou: Fraction = Field(0.6, description="least overlap of such a window with its object")
    negative_iou: Fraction = Field(0.35, description="largest overlap of a background window with any object")
    shift: Fraction = Field(0.2, description="largest shift of an object's window, as a share of its sides")
    stretch: float = Field(1.35, ge=1, description="largest factor on the sides of an object's window")
    near: Fraction = Field(0.5, description="share of the background windows that lie around objects")
    hard: Fraction = Field(0.5, description="share of the background windows that are hard negatives")
    sizes: tuple[Fraction, Fraction] = Field(
        (0.05, 0.6), description="[min, max] side of other windows, as a share of the picture's shorter side"
    )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.negative_iou > self.positive_iou:
            raise ValueError("negative_iou at most positive_iou")
        if not 0 < self.sizes[0] <= self.sizes[1]:
            raise ValueError("sizes: [min, max] with 0 < min <= max")
        return self


class AugmentConfig(Section):
    """Random changes to training pictures and their boxes, in the order listed (turns come first)."""

    rotate90: Fraction = Field(0.0, description="chance of a turn by 0, 90, 180 or 270 degrees")
    mosaic: Fraction = Field(0.0, description="chance of four pictures around one point, instead of one")
    mosaic_scale: tuple[float, float] = Field(
        (0.4, 1.0), description="size of a mosaic's pictures as a share of input.size, [min, max]"
    )
    crop: Fraction = Field(0.0, description="chance that a random part is cut out and fills input.size")
    crop_scale: tuple[float, float] = Field(
        (0.3, 1.0), description="area of that part as a share of the picture's, [min, max]"
    )
    crop_ratio: tuple[float, float] = Field(
        (0.8, 1.25), description="width / height of that part, as a multiple of input.size's, [min, max]"
    )
    scale: tuple[float, float] | None = Field(
        None,
        description="[min, max] factor on the resized picture: above 1 a random part of it is shown, below 1 "
        "the whole at a random place; null = off",
    )
    flip: Fraction = Field(0.5, description="chance of mirroring left and right")
    vertical_flip: Fraction = Field(0.0, description="chance of mirroring top and bottom")
    color_jitter: Fraction = Field(
        0.0,
        description="largest relative change of brightness, contrast, saturation (hue: a quarter of it)",
    )
    min_visible: Fraction = Field(
        0.3, description="share of a box's area that a cut must leave, or the box is not trained on"
    )
    min_side: float = Field(
        1.0, ge=0, description="least width and height of a box that is trained on, network pixels"
    )
    windows: WindowsConfig | None = Field(
        None, description="windows to cut instead (mirrors, turns and colours still apply), each on its own"
    )

    @field_validator("mosaic_scale", "crop_scale", "crop_ratio", "scale")
    @classmethod
    def _check_range(
        cls, value: tuple[float, float] | None, info: ValidationInfo
    ) -> tuple[float, float] | None:
        if value is not None and not 0 < value[0] <= value[1]:
            raise ValueError("[min, max] with 0 < min <= max")
        if value is not None and info.field_name in ("mosaic_scale", "crop_scale") and value[1] > 1:
            raise ValueError("[min, max] with max at most 1, the whole picture")
        return value


class FasterRcnnConfig(BackboneSection):
    """A region proposal network and a head on its proposals.

    Source: Ren et al. 2015 (arXiv 1506.01497), on a pyramid as in Lin et al. 2017 (arXiv 1612.03144).
    """

    name: Literal["faster_rcnn"] = "faster_rcnn"
    pyramid: PyramidConfig = PyramidConfig()
    anchors: AnchorConfig = AnchorConfig()
    proposals: ProposalConfig = ProposalConfig()
    head: HeadConfig = HeadConfig()
    second_look: SecondLookConfig = SecondLookConfig()
    batch_norm: BatchNormConfig = BatchNormConfig()


class FastRcnnConfig(BackboneSection):
    """A head on proposals that a cheaper method, or a file, gives.

    Source: Girshick 2015 (arXiv 1504.08083).
    """

    name: Literal["fast_rcnn"] = "fast_rcnn"
    pyramid: PyramidConfig = PyramidConfig(extra=0)
    head: HeadConfig = HeadConfig(sampling=SamplingConfig(negative_iou=(0.1, 0.5)))
    batch_norm: BatchNormConfig = BatchNormConfig()


class SlidingWindowConfig(BackboneSection):
    """A classifier of windows, applied everywhere at once."""

    name: Literal["sliding_window"] = "sliding_window"
    window: tuple[Side, Side] = Field((60, 60), description="height and width of the window, pixels")
    context: Factor = Field(
        1.25, description="a window's height and width as a multiple of the object's that it shows"
    )
    scales: tuple[Factor, ...] = Field(
        (1.0, 0.71, 0.5, 0.35, 0.25),
        min_length=1,
        description="factors on the picture: a search level each, for objects of window / context / factor",
    )
    ratios: tuple[Factor, ...] = Field(
        (1.0,),
        min_length=1,
        description="width / height of the objects searched for; each scale is searched once a ratio",
    )
    overhang: float = Field(
        0.25, ge=0, le=1, description="share of a window that may lie outside the picture, each side"
    )
    head: Literal["convolution", "linear", "original"] = Field(
        "convolution",
        description="convolution (as large as the window's features, then 1x1), or a classifier's linear or "
        "original head, made convolutional",
    )
    hidden: Positive = Field(128, description="channels of the head `convolution`")
    dropout: Fraction | None = Field(
        None, description="chance that an input of the head is dropped; null = as published, none for ours"
    )
    background: bool = Field(
        True, description="score the background too; without it a window counts by its probability alone"
    )
    refine: bool = Field(True, description="predict how far the object's box is from the window's")
    candidates: Positive = Field(2000, description="windows a picture, best first, that NMS is handed")
    mine_every: int = Field(0, ge=0, description="epochs between searches for hard negatives; 0 = never")
    mine_from: Positive = Field(1, description="epochs before the first such search")
    mine_limit: Positive = Field(50, description="hard negatives kept a picture")
    mine_score: Fraction = Field(0.05, description="least score of a false detection that is kept as one")


ModelConfig = FasterRcnnConfig | FastRcnnConfig | SlidingWindowConfig


class LossConfig(Section):
    """What training minimises: the sum of these terms, of which proposals only concern Faster R-CNN."""

    objectness: float = Field(1.0, ge=0, description="weight of telling objects from background in proposals")
    proposal_boxes: float = Field(1.0, ge=0, description="weight of the edges of proposals")
    classification: float = Field(1.0, ge=0, description="weight of naming regions")
    boxes: float = Field(1.0, ge=0, description="weight of the edges of named regions")
    beta: float = Field(
        1 / 9, gt=0, description="error of an edge, in units of its output, up to which the loss is quadratic"
    )
    box_loss: Literal["smooth_l1", "giou"] = Field(
        "smooth_l1", description="how wrong edges of regions count: smooth_l1 of the outputs, or 1 - GIoU"
    )


class DetectionTrainConfig(TrainConfig):
    """As of every task; the pictures are larger."""

    batch_size: BatchSize = 8


class DetectionConfig(RunConfig):
    """A whole detection run."""

    task: Literal["detection"] = Field("detection", description="what the run trains")
    train: DetectionTrainConfig = DetectionTrainConfig()
    data: DataConfig
    input: InputConfig = InputConfig()
    augment: AugmentConfig = AugmentConfig()
    model: Annotated[ModelConfig, Field(discriminator="name")] = FasterRcnnConfig()
    loss: LossConfig = LossConfig()

    @model_validator(mode="after")
    def _fill_windows(self) -> Self:
        """Tell the training transform what the network's windows are."""
        if not isinstance(self.model, SlidingWindowConfig):
            if self.augment.windows is not None:
                raise ValueError("augment.windows beside model.name: sliding_window only")
            return self
        given = self.augment.windows or WindowsConfig()
        derived = {
            "size": self.model.window,
            "context": self.model.context,
            "crops": self.data.format == "crops",
        }
        for name, value in derived.items():
            if getattr(given, name) not in (None, value):
                raise ValueError(f"augment.windows.{name} left out (it is derived: {value})")
        augment = self.augment
        if augment.mosaic or augment.crop or augment.scale is not None:
            raise ValueError(
                "augment.mosaic, crop and scale off beside sliding windows, which vary by themselves"
            )
        windows = given.model_copy(update=derived)
        object.__setattr__(self, "augment", augment.model_copy(update={"windows": windows}))
        return self

    @model_validator(mode="after")
    def _fill_proposals(self) -> Self:
        """Fast R-CNN is handed regions by the transform, which a weights file keeps."""
        if not isinstance(self.model, FastRcnnConfig):
            if self.input.proposals is not None:
                raise ValueError("input.proposals beside model.name: fast_rcnn only")
        elif self.input.proposals is None:
            filled = self.input.model_copy(update={"proposals": RegionsConfig()})
            object.__setattr__(self, "input", filled)
        return self

    @field_validator("model", mode="before")
    @classmethod
    def _name_model(cls, value: Any) -> Any:
        return {"name": "faster_rcnn", **value} if isinstance(value, Mapping) else value
