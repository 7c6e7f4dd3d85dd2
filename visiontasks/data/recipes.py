"""Configs that train on the drawn data, a task each; `draw_shapes` says where it lies and how large it is."""

from __future__ import annotations

from typing import Final

DATA_YAML: Final = """\
format: folder
root: {root}
train: train
val: val
test: test
"""

CLASSIFICATION_YAML: Final = """\
# Drawn shapes. Train with: visiontasks train THIS_FILE
# About 20 s on two cores. With 600 pictures, top1 on the test split is about 0.97.
task: classification
name: shapes
seed: 0
data:
{data}
input:
  size: [{height}, {width}]
  resize: stretch
augment:
  flip: 0.5
  vertical_flip: 0.5
model:
  backbone: small
loss:
  label_smoothing: 0.1
train:
  epochs: {epochs}
  batch_size: 16
  optimizer:
    name: adamw
    lr: 0.003
    weight_decay: 0.01
  schedule:
    name: one_cycle
    warmup: {warmup}
"""

COCO_YAML: Final = """\
format: coco
root: {root}
train: annotations/train.json
val: annotations/val.json
test: annotations/test.json
"""

DETECTION_YAML: Final = """\
# Drawn shapes. Train with: visiontasks train THIS_FILE
task: detection
name: shapes
seed: 0
data:
{data}
input:
  size: [{height}, {width}]
augment:
  flip: 0.5
  vertical_flip: 0.5
model:
  name: faster_rcnn
  backbone: small
  options: {{stem: 16, widths: [32, 64, 128, 128]}}
  pyramid: {{finest: 4, channels: 64, norm: batch}}
  proposals: {{before_nms: 300, before_nms_train: 300, after_nms: 100, after_nms_train: 200}}
  head: {{widths: [256], pooled: 5, canonical: 112}}
train:
  epochs: {epochs}
  batch_size: 8
  optimizer:
    name: adamw
    lr: 0.002
    weight_decay: 0.01
  schedule:
    name: one_cycle
    warmup: {warmup}
"""

MASKS_YAML: Final = """\
format: masks
root: {root}
train: train
val: val
test: test
"""

SEGMENTATION_YAML: Final = """\
# Drawn shapes. Train with: visiontasks train THIS_FILE
task: segmentation
name: shapes
seed: 0
data:
{data}
input:
  size: [{height}, {width}]
augment:
  flip: 0.5
  vertical_flip: 0.5
model:
  name: unet
  backbone: small
  options: {{stem: 16, widths: [32, 64, 128]}}
  widths: [64, 32, 16]
train:
  epochs: {epochs}
  batch_size: 8
  optimizer:
    name: adamw
    lr: 0.003
    weight_decay: 0.01
  schedule:
    name: one_cycle
    warmup: {warmup}
"""
