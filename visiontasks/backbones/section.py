"""The section of a config that names a backbone: every task's `model:` begins with it."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from visiontasks.backbones import check_backbone, parse_options
from visiontasks.config import Section
from visiontasks.errors import ConfigError, UsageError


class BackboneSection(Section):
    """A shared CNN and where its weights come from; a task's model section adds what stands on it."""

    backbone: str = Field(
        "resnet18", min_length=1, description="name of the shared CNN (`visiontasks models` lists them)"
    )
    weights: str | None = Field(
        None, description="start from: a file, run folder, bundled name or torchvision:NAME; null = random"
    )
    options: dict[str, Any] = Field(
        {}, description="of the backbone, for instance {stem: small} of ResNets (pictures of up to 64 pixels)"
    )

    @field_validator("backbone")
    @classmethod
    def _check_backbone(cls, value: str) -> str:
        try:
            return check_backbone(value)
        except UsageError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        try:
            parse_options(self.backbone, self.options)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self
