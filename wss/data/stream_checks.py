"""Whether the split of a stream has what a method asks of its images."""

from wss.data.dataset_info import DatasetInfo
from wss.data.given_image_labels import GivenImageLabels
from wss.data.splits import num_with_boxes
from wss.data.streams import Views
from wss.errors import UserError
from wss.project import converter

MASKS_FROM = {
    "labeled": f"make a split of those with {converter('make_split')}",
    "pseudo": "label the images with wss-label",
}


def check_views(
    info: DatasetInfo, stream: str, split: str, *, views: Views, given: GivenImageLabels | None = None
) -> None:
    """Checks that a split has the masks, boxes and image-level labels that views need.

    Args:
        info: The data set of the stream.
        stream: Name of the stream.
        split: Name of its split.
        views: Views that a method asks of the stream.
        given: Image-level labels of the stream instead of those of its records.

    Raises:
        UserError: Something is missing; the message says of how many images, and what helps.
    """
    found = info.split(split)
    if views.masks and found.num_masks < found.num_examples:
        raise UserError(
            f"TrainingData.{stream}_split = {split!r}: {found.num_masks} of its {found.num_examples} images have "
            f"masks; {MASKS_FROM[stream]}"
        )
    if views.boxes and (known := num_with_boxes(info, split)) < found.num_examples:
        raise UserError(
            f"TrainingData.{stream}_split = {split!r}: the objects of {known} of its {found.num_examples} images are known, "
            f"but the method reads boxes; build the records with --boxes or --boxes_from_masks, or make a split of images "
            f"with boxes by {converter('make_split')}"
        )
    if views.image_labels and given:
        given.check(info, split)
    elif views.image_labels and not found.num_masks and not found.num_image_labels:
        raise UserError(
            f"TrainingData.{stream}_split = {split!r} has neither image-level labels nor masks; "
            "set PseudoSeg.use_image_labels = False, build the records with image labels, or set "
            "TrainingData.image_labels to a file of them, which tools/guess_image_labels.py can write"
        )
