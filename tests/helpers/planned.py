"""A data set whose facts the tests of plans change one at a time."""

import math

from networks import dataset_of

from wss.planning.fingerprint import Fingerprint
from wss.planning.plan_splits import PlanSplits

# Photos of animals, 218 masks, 3131 photos without.
ANIMALS = Fingerprint(
    info=dataset_of(4),
    splits=PlanSplits(labeled="train", validation="val", unlabeled="unlabeled"),
    num_masks=218,
    num_unlabeled=3131,
    num_tagged=0,
    num_validation=222,
    size=(192, 256),
    longest_side=256,
    masks_with=(55, 20, 15, 4),
    pixel_share=(0.7, 0.1, 0.1, 0.1),
    object_side=(math.nan, 0.5, 0.4, 0.3),
    classes_per_photo=0.3,
)
