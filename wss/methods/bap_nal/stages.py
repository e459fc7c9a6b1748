"""The settings of BAP + NAL as three commands: what the box classifier is trained with, besides the recipe."""

import dataclasses
from collections.abc import Sequence

import gin

from wss.errors import UserError
from wss.parameter_ranges import in_ranges
from wss.ranges import OrNone, Several, Text


@gin.configurable
@in_ranges(
    "BoxStages",
    split=Text("the name of a split"),
    classification=Several(Text("a gin binding, such as 'train.num_steps = 8000'"), 0),
    classifier=OrNone(Text("the folder of a run", paths=True)),
    masks=OrNone(Text("the folder of a data set", paths=True)),
)
@dataclasses.dataclass(frozen=True)
class BoxStages:
    """The settings of the stages of one recipe, whose other parameters are those of stage 3.

    Attributes:
        split: Split of the images with boxes, from which classifier and segmentation learn.
        classification: Gin bindings of stage 1, the training of the box classifier, over those of the recipe.
        classifier: Run directory that is stage 1; None trains it.
        masks: Data set that is stage 2, of `wss-label --policy=boxes`; None makes it. With it there is no stage 1.
    """

    split: str = "boxes"
    classification: Sequence[str] = ()
    classifier: str | None = None
    masks: str | None = None

    def __post_init__(self):
        if isinstance(self.classification, str):
            raise UserError(
                f"BoxStages.classification = {self.classification!r}: one text, expected several in brackets, such as "
                "('train.num_steps = 8000',)"
            )
