"""The rules of a plan, each a function from facts to one choice with its reason. docs/planning.md has their measurements."""

import dataclasses
import math
from collections.abc import Callable, Sequence

from wss.data.augment import HOLE_SHARE
from wss.data.padding import side_above
from wss.errors import UserError
from wss.planning.fingerprint import Fingerprint
from wss.planning.machine import Machine
from wss.pseudo_labels.label_spreading import Agreement

SUPERVISED, PSEUDOSEG, WITH_TAGS = "supervised", "pseudoseg", "pseudoseg_image_labels"
GUESSED_TAGS = "pseudoseg_guessed_labels"
LEAST_STEPS, MOST_STEPS = 300, 40_000
# Longer side of a crop; without a budget, and what a budget chooses from.
SIDE_ON_CPU, SIDE_ON_GPU = 257, 513
SIDES = (129, 161, 193, 225, 257, 321, 385, 449, 513)
# A budget takes the largest side at which there are so many steps; the second with photos without masks, and for photos
# larger than below: more steps than that gain little.
ENOUGH_STEPS, MANY_STEPS = 400, 800
# Photos do not become smaller than this, whatever the crop.
LEAST_PHOTO = 257
# Momentum of batch norm below so many steps.
MOMENTA = ((2000, 0.95), (10_000, 0.99), (math.inf, 0.997))
# Below, a network has learnt nothing that tells one choice from another.
FEWEST_STEPS = 150
STRIDE = 16
# A cell of the CAM is STRIDE pixels; tags help where objects are larger than this many.
CELLS = 2.0
# Share of the classes whose objects may be smaller.
SMALL_CLASSES = 0.25
# Above this mean share of classes in a photo, tags say little about it.
EVERYWHERE = 0.4
# Masks from which photos without tags pay, for pseudo labels are as good as what made them.
MANY_MASKS = 200
# Guessed tags pay from this agreement with true ones on (F1). Measured: 0.6 to 0.7.
GOOD_GUESSES = 0.5
# Unlabelled photos for each mask, from which they are worth the time of their passes.
MANY_PHOTOS = 3.0
EPOCHS = 200
LEAST_EVALUATIONS, MOST_EVALUATIONS = 2, 10
# Of the budget, for evaluations on the way.
EVALUATION_SHARE = 0.15


@dataclasses.dataclass(frozen=True)
class Choice:
    """One line of a plan.

    Attributes:
        name: Gin parameter; "" for an include.
        value: Its value as a gin file writes it; the file for an include.
        reason: Reason in words, from the facts.
        others: Further values, each with when to take it.
    """

    name: str
    value: str
    reason: str
    others: tuple[tuple[str, str], ...] = ()


def method(facts: Fingerprint, *, side: int, hurried: bool = False) -> Choice:
    """Chooses what learns: unlabelled photos and tags only where they were measured to pay.

    Args:
        facts: The data set.
        side: Longer side of a crop, in pixels.
        hurried: Whether there is too little time for the steps that photos without masks need.
    """
    supervised, with_photos, with_tags, with_guesses = map(
        method_file, (SUPERVISED, PSEUDOSEG, WITH_TAGS, GUESSED_TAGS)
    )
    if not facts.num_unlabeled:
        return Choice("", supervised, f"{facts.num_masks} masks and no photos without")
    guesses = not facts.has_tags and (facts.guesses is None or facts.guesses.f1 >= GOOD_GUESSES)
    if facts.has_tags:
        richer, brings, photos = with_tags, "the tags bring", f"{facts.num_tagged} photos have tags"
    elif guesses:
        richer, brings = with_guesses, f"guessed tags bring, plan anew with --method={GUESSED_TAGS}"
        photos = f"what {facts.num_unlabeled} photos show can be guessed by their likeness to those with masks"
    else:
        richer, brings, photos = with_photos, "the photos bring", f"{facts.num_unlabeled} photos have no mask"
    against = against_maps(facts, side)
    if not facts.has_tags and facts.num_unlabeled < MANY_PHOTOS * facts.num_masks:
        against = f"{facts.num_unlabeled} photos without a mask are few beside {facts.num_masks} with"
    elif richer == with_photos and facts.num_masks < MANY_MASKS:
        against = f"with {facts.num_masks} masks, photos without masks or tags gain less than their time does elsewhere"
    if hurried:
        against = "photos without masks pay after the masks are learnt, and the time ends before"
    if against:
        return Choice("", supervised, against, ((richer, f"to see what {brings}"),))
    why = f"{photos}, and their objects are larger than {CELLS:g} cells of the class activation map"
    return Choice("", richer, why, ((supervised, "the baseline, to compare with"),))


def method_file(name: str) -> str:
    """Returns the gin file of a method."""
    return f"gin_configs/methods/{name}.gin"


def guessed_labels(file: str, agreement: Agreement) -> Choice:
    """Returns the choice of the file with guessed image-level labels."""
    return Choice(
        "TrainingData.image_labels",
        repr(file),
        f"of the guesses {_percent(agreement.precision)} are right, and {_percent(agreement.recall)} of what photos show is "
        "guessed, as far as the masks tell; the file may be corrected by hand",
    )


def against_maps(facts: Fingerprint, side: int) -> str:
    """Returns why class activation maps, from which pseudo labels are made, would not find the objects; "" if they would."""
    if facts.classes_per_photo > EVERYWHERE:
        return f"a photo shows {_percent(facts.classes_per_photo)} of the classes, so what it shows says little"
    if len(small := small_classes(facts, side)) > SMALL_CLASSES * len(facts.foreground):
        return f"objects of {_listed(small)} are smaller than {CELLS:g} cells of the class activation map"
    return ""


def small_classes(facts: Fingerprint, side: int) -> list[str]:
    """Returns the foreground classes whose objects are less than `CELLS` cells of the class activation map wide."""
    cell = STRIDE / seen_size(facts, side)[0]
    return [facts.info.class_names[c] for c in facts.foreground if facts.object_side[c] < CELLS * cell]


def check_method(facts: Fingerprint, name: str) -> None:
    """Raises a `UserError` if a method that is asked for has not the photos that it needs."""
    photos, split = facts.num_unlabeled, facts.splits.unlabeled
    if name != SUPERVISED and not photos:
        raise UserError(
            f"--method={name}: it learns from photos without masks too, and there are none; name their split by "
            "--unlabeled_split"
        )
    if name == WITH_TAGS and not facts.has_tags:
        raise UserError(
            f"--method={name}: {facts.num_tagged} of the {photos} photos of {split!r} have tags, expected more than half; "
            "build the data set with --image_labels"
        )


def network(machine: Machine) -> list[Choice]:
    """Chooses the backbone and its initial weights."""
    small, large = (f"gin_configs/models/{name}.gin" for name in ("mobilenet_v2", "resnet_v1_50_keras"))
    if machine.accelerated:
        backbone = Choice("", large, "an accelerator", ((small, "five times as fast"),))
    else:
        backbone = Choice("", small, "no accelerator: ResNet-50 takes six times as long a step")
    return [
        backbone,
        Choice("build_model.output_stride", str(STRIDE), "half the time of 8", (("8", "for thin objects"),)),
    ]


def initial_weights(path: str) -> Choice:
    """Returns the choice of initial weights."""
    return Choice("train.initial_weights", repr(path), "few masks do not teach a network to see; ImageNet has")


def resized(facts: Fingerprint, longest: int) -> tuple[int, int]:
    """Returns (shorter, longer) side of the median photo when its longer side is at most `longest`."""
    height, width = facts.size
    factor = min(1.0, longest / max(height, width))
    return round(factor * min(height, width)), round(factor * max(height, width))


def usual_side(machine: Machine) -> int:
    """Returns the longer side of a crop where no budget chooses, in pixels."""
    return SIDE_ON_GPU if machine.accelerated else SIDE_ON_CPU


def photo_side(side: int) -> int:
    """Returns the longer side of the photos as the network sees them, for that of a crop, in pixels."""
    return max(side, LEAST_PHOTO)


def seen_size(facts: Fingerprint, side: int) -> tuple[int, int]:
    """Returns (shorter, longer) side of the median photo as the network sees it, for the longer side of a crop."""
    return resized(facts, photo_side(side))


def affordable_side(steps_at: Callable[[int], float], *, with_photos: bool) -> int:
    """Chooses the largest side of a crop at which the budget has enough steps, the smallest if there is none.

    Args:
        steps_at: Number of steps in the budget, for a side in pixels.
        with_photos: Whether the method learns from photos without masks.
    """
    enough = lambda side: MANY_STEPS if with_photos or side > LEAST_PHOTO else ENOUGH_STEPS
    return max((side for side in SIDES if steps_at(side) >= enough(side)), default=SIDES[0])


def resolution(facts: Fingerprint, side: int) -> list[Choice]:
    """Chooses how large the network sees the photos, for the longer side of a crop."""
    if facts.longest_side <= photo_side(side):
        return []
    shorter, longer = seen_size(facts, side)
    height, width = facts.size
    share = _percent(min(1.0, 129 * 129 / (height * width)))
    return [
        Choice(
            "ResizeToRange.min_size",
            str(shorter),
            f"photos are {height} x {width}; at full size a crop of 129 would see {share} of one",
            ((str(round(1.5 * shorter)), "if small classes are missed and there is time"),),
        ),
        Choice("ResizeToRange.max_size", str(longer), "no photo becomes larger than the median one"),
    ]


def crop_size(facts: Fingerprint, side: int) -> tuple[int, int]:
    """Returns the (height, width) of a crop: the whole median photo, or as much of it as `side` holds."""
    height, width = (min(whole, side) for whole in _whole(facts, side))
    return height, width


def crop(facts: Fingerprint, side: int) -> list[Choice]:
    """Chooses the crop and its random scales."""
    whole, size = _whole(facts, side), crop_size(facts, side)
    if size == whole:
        why = "a crop sees the whole photo at scale 1"
        low, high = ("0.75", "below, small objects vanish"), ("1.5", "above, a crop sees a small part")
    else:
        why = f"the time is too short for whole photos of {' x '.join(map(str, whole))}"
        low, high = ("0.5", "a crop sees much of a photo"), ("1.25", "above, a crop sees a small part")
    return [
        Choice("TrainingData.crop_size", str(size), why),
        Choice("Augmentation.min_scale", *low),
        Choice("Augmentation.max_scale", *high),
    ]


def hole(facts: Fingerprint, side: int, *, with_photos: bool) -> list[Choice]:
    """Chooses the CutOut hole of the strong view: the share of a crop that the original's has."""
    if not with_photos:
        return []
    half = round(HOLE_SHARE * min(crop_size(facts, side)))
    return [Choice("Augmentation.cutout_half_side", str(half), "as large a part of a crop as the original's 50 of 513")]


def _whole(facts: Fingerprint, side: int) -> tuple[int, int]:
    """Returns the (height, width) of a crop that holds the median photo."""
    shorter, longer = seen_size(facts, side)
    shorter, longer = side_above(shorter, STRIDE), side_above(longer, STRIDE)
    return (shorter, longer) if facts.size[0] <= facts.size[1] else (longer, shorter)


def batches(facts: Fingerprint, machine: Machine) -> list[Choice]:
    """Chooses the images of a step, of one replica."""
    size = 8
    chosen = [Choice("TrainingData.labeled_batch_size", str(size), "batch norm needs several images")]
    if facts.splits.unlabeled:
        chosen.append(Choice("TrainingData.unlabeled_batch_size", str(size), "as many as labelled ones"))
    return chosen


def optimizer() -> list[Choice]:
    """Chooses optimizer and rate."""
    return [
        Choice("build_optimizer.name", "'adam'", "the paper's SGD needs 30,000 steps (6 to 11 points less in 800)"),
        Choice("build_optimizer.learning_rate", "0.0003", "a third or three times as much lose in short runs"),
    ]


def class_weights(*, with_photos: bool) -> list[Choice]:
    """Chooses how much a class counts in the loss on masks; pseudo labels would repeat what weights exaggerate."""
    if with_photos:
        return []
    return [
        Choice(
            "train.class_weights",
            "'inverse_root'",
            "a short run learns rare and small classes late",
            (("None", "all alike, as the papers"), ("'median_frequency'", "rare classes more than common ones")),
        )
    ]


def batch_norm(num_steps: int) -> Choice:
    """Chooses the momentum of the statistics, which must have followed the weights by the end."""
    momentum = next(momentum for steps, momentum in MOMENTA if num_steps < steps)
    return Choice(
        "build_model.batch_norm_momentum",
        str(momentum),
        f"the statistics forget in {round(3 / (1 - momentum))} steps; slower ones lag behind the weights of a short run",
    )


def steps(facts: Fingerprint, *, labeled_images: int, seconds_per_step: float, budget: float) -> Choice:
    """Chooses the number of steps.

    Args:
        facts: The data set.
        labeled_images: Labelled images of a step, of all replicas.
        seconds_per_step: Time of a step.
        budget: Seconds for all steps.
    """
    limits = {
        "the budget": budget / seconds_per_step,
        f"{EPOCHS} passes over the masks, more overfit": max(EPOCHS * facts.num_masks / labeled_images, LEAST_STEPS),
        "the paper has 30,000": MOST_STEPS,
    }
    limit = min(limits, key=limits.__getitem__)
    number = max(int(limits[limit]), 1)
    number = number if number < 50 else number // 10 * 10
    epochs = number * labeled_images / facts.num_masks
    return Choice("train.num_steps", str(number), f"{epochs:.0f} passes over the {facts.num_masks} masks; {limit}")


def evaluations(seconds_each: float, budget: float) -> int:
    """Chooses how often the run is evaluated, for the time of an evaluation and of everything in seconds."""
    affordable = EVALUATION_SHARE * budget / max(seconds_each, 1e-6)
    return int(min(max(affordable, LEAST_EVALUATIONS), MOST_EVALUATIONS))


def training(num_steps: int, number_of_evaluations: int) -> list[Choice]:
    """Chooses evaluations and what is kept."""
    every = max(-(-num_steps // number_of_evaluations), 1)
    return [
        Choice("train.evaluate_every", str(every), f"{number_of_evaluations} points of a curve"),
        Choice(
            "train.keep_best",
            "True",
            "the best of these is taken, for too many steps lose points with few masks",
            (("False", "the last step, as papers report"),),
        ),
    ]


def evaluation(facts: Fingerprint, machine: Machine) -> list[Choice]:
    """Chooses split and batch of the evaluation."""
    return [
        Choice("Evaluation.split", repr(facts.splits.validation), f"{facts.num_validation} masks"),
        Choice(
            "Evaluation.batch_size", str(machine.replicas * max(8 // machine.replicas, 1)), "as fast as larger ones"
        ),
    ]


def rare_classes(facts: Fingerprint) -> Sequence[str]:
    """Returns the foreground classes that are in fewer than five masks."""
    return [facts.info.class_names[c] for c in facts.foreground if facts.masks_with[c] < 5]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _listed(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"


def short_run(method_file: str) -> list[Choice]:
    """Chooses what PseudoSeg needs where it has hundreds of steps instead of 30,000."""
    if "pseudoseg" not in method_file:
        return []
    return [
        Choice("build_sgc.projection_init", "'identity'", "a short run has no time to unlearn a random mix of classes"),
        Choice(
            "PseudoSeg.batch_norm_views",
            "('labeled',)",
            "inference takes the statistics under which the labelled loss was minimised",
        ),
    ]
