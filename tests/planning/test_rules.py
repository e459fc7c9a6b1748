"""The rules of a plan, one fact at a time."""

import dataclasses
import math
import re

import pytest
from planned import ANIMALS

from wss.planning import rules
from wss.planning.machine import Machine
from wss.planning.plan import NO_BUDGET, Pace, Plan, fitted, gin_text
from wss.planning.rules import Choice
from wss.planning.summary import warning
from wss.pseudo_labels.label_spreading import Agreement

LAPTOP, EIGHT_GPUS = Machine(0, 2), Machine(8, 64)
GOOD, BAD = Agreement(0.7, 0.6), Agreement(0.6, 0.4)
PACE = Pace(step=1.0, evaluation=0.05, memory=2**30, memory_of="memory of this process")


def facts(**changed):
    return dataclasses.replace(ANIMALS, **changed)


def values(choices):
    return {choice.name: choice.value for choice in choices}


def no_guess(plan):
    raise AssertionError(f"guessed for {plan.method.value}")


def plan_of(facts, machine=LAPTOP, **options):
    return Plan(facts=facts, machine=machine, data_dir="data/own", initial_weights="imagenet", **options)


def paced(seconds_per_pixel):
    """What `fitted` measures: steps as long as their pixels are many, three times as long with photos without masks."""

    def measure(plan):
        factor = 1 if "supervised" in plan.method.value else 3
        height, width = rules.crop_size(plan.facts, plan.crop_side)
        return dataclasses.replace(PACE, step=factor * seconds_per_pixel * height * width, evaluation=0.01)

    return measure


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "pseudoseg_guessed_labels.gin"),
        ({"guesses": GOOD}, "pseudoseg_guessed_labels.gin"),
        ({"guesses": BAD}, "pseudoseg.gin"),
        ({"num_unlabeled": 0}, "supervised.gin"),
        ({"num_unlabeled": 600}, "supervised.gin"),  # fewer than three for each mask
        ({"num_masks": 55}, "pseudoseg_guessed_labels.gin"),
        ({"num_masks": 55, "guesses": BAD}, "supervised.gin"),
        ({"num_masks": 55, "classes_per_photo": 0.5}, "supervised.gin"),
        ({"num_masks": 55, "num_tagged": 3131}, "pseudoseg_image_labels.gin"),
        ({"num_tagged": 3131}, "pseudoseg_image_labels.gin"),
        ({"num_tagged": 3131, "num_unlabeled": 3131, "num_masks": 2000}, "pseudoseg_image_labels.gin"),
        ({"num_tagged": 100}, "pseudoseg_guessed_labels.gin"),  # a few tags are no tags
        ({"num_tagged": 3131, "classes_per_photo": 0.5}, "supervised.gin"),  # streets, clothes
        ({"num_tagged": 3131, "object_side": (math.nan, 0.05, 0.5, 0.5)}, "supervised.gin"),  # hair and shoes
        ({"object_side": (math.nan, 0.05, 0.05, 0.5)}, "supervised.gin"),
        ({"object_side": (math.nan,) * 4}, "pseudoseg_guessed_labels.gin"),
    ],
)
def test_photos_and_tags_where_they_pay(changed, expected):
    chosen = rules.method(facts(**changed), side=257)
    assert chosen.value == f"gin_configs/methods/{expected}"
    assert chosen.reason
    if facts(**changed).num_unlabeled:  # there is something to compare with
        assert chosen.others and all(value != chosen.value for value, _ in chosen.others)


def test_small_photos_keep_their_size_and_large_ones_do_not():
    assert rules.resolution(ANIMALS, 257) == []
    large = facts(size=(550, 830), longest_side=1000)
    assert values(rules.resolution(large, 257)) == {"ResizeToRange.min_size": "170", "ResizeToRange.max_size": "257"}
    assert values(rules.resolution(large, 513))["ResizeToRange.max_size"] == "513"
    assert rules.resolution(large, 129) == rules.resolution(large, 257)  # the crop shrinks, not the photo
    one_large = facts(longest_side=3000)  # the median one is small: it stays, the large one shrinks to it
    assert values(rules.resolution(one_large, 257)) == {
        "ResizeToRange.min_size": "192",
        "ResizeToRange.max_size": "256",
    }


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((192, 256), 257, (193, 257)),
        ((256, 192), 257, (257, 193)),
        ((550, 830), 257, (177, 257)),
        ((550, 830), 513, (353, 513)),
        ((550, 830), 129, (129, 129)),
        ((550, 830), 193, (177, 193)),
        ((100, 100), 257, (113, 113)),
        ((2000, 100), 257, (257, 17)),
    ],
)
def test_a_crop_holds_the_photo_if_there_is_time(size, side, expected):
    assert rules.crop_size(facts(size=size, longest_side=max(size)), side) == expected


LARGE = {"size": (900, 1200), "longest_side": 1200, "num_unlabeled": 0}


@pytest.mark.parametrize(("seconds", "side"), [(60, 129), (400, 161), (900, 257), (1800, 321), (36_000, 513)])
def test_photos_are_as_large_as_the_steps_allow(seconds, side):
    plan, pace = fitted(plan_of(facts(**LARGE)), seconds, paced(2e-5), no_guess)
    assert plan.crop_side == side and pace.step == paced(2e-5)(plan).step
    assert seconds < 400 or steps_of(plan, pace, seconds) >= rules.ENOUGH_STEPS


def test_a_plan_without_a_budget_has_the_usual_size():
    measured = []
    plan, _ = fitted(plan_of(facts(**LARGE)), NO_BUDGET, lambda plan: measured.append(plan) or PACE, no_guess)
    assert plan.crop_side == 257 and len(measured) == 1


def test_small_photos_are_measured_once():
    measured = []
    fitted(plan_of(ANIMALS), 36_000, lambda plan: measured.append(plan) or PACE, lambda _: GOOD)
    assert len(measured) == 1


def test_photos_without_masks_need_time():
    plan, pace = fitted(plan_of(ANIMALS), 3600, paced(2e-5), lambda _: GOOD)
    assert plan.method.value.endswith("pseudoseg_guessed_labels.gin")
    assert steps_of(plan, pace, 3600) >= rules.ENOUGH_STEPS
    hurried, pace = fitted(plan_of(facts(object_side=(math.nan, 0.5, 0.5, 0.5))), 300, paced(2e-5), no_guess)
    assert hurried.method.value.endswith("supervised.gin") and "the time ends before" in hurried.method.reason
    assert hurried.method.others[0][0].endswith("pseudoseg_guessed_labels.gin") and pace == paced(2e-5)(hurried)
    asked, _ = fitted(plan_of(ANIMALS, method_file="gin_configs/methods/pseudoseg.gin"), 300, paced(2e-5), no_guess)
    assert asked.method.value.endswith("pseudoseg.gin")


def test_a_plan_has_the_file_of_its_guesses_and_tells_how_right_they_are():
    plan, _ = fitted(plan_of(ANIMALS, guesses_file="runs/own/tags.csv"), NO_BUDGET, paced(2e-5), lambda _: GOOD)
    (line,) = [choice for choice in plan.choices if choice.name == "TrainingData.image_labels"]
    assert line.value == "'runs/own/tags.csv'"
    assert "of the guesses 70 % are right, and 60 % of what photos show is guessed" in line.reason


@pytest.mark.parametrize(("masks", "expected"), [(55, "supervised"), (218, "pseudoseg")])
def test_bad_guesses_are_not_learnt_from_unless_somebody_asks(masks, expected):
    guessed = []
    few = facts(num_masks=masks)
    plan, pace = fitted(plan_of(few), 3600, paced(2e-5), lambda plan: guessed.append(plan) or BAD)
    assert plan.method.value.endswith(f"/{expected}.gin") and len(guessed) == 1
    assert pace == paced(2e-5)(plan)
    assert not any("image_labels" in choice.name for choice in plan.choices)
    asked = plan_of(few, method_file=rules.method_file(rules.GUESSED_TAGS))
    plan, _ = fitted(asked, 3600, paced(2e-5), lambda _: BAD)
    assert plan.method.value == asked.method_file and any("image_labels" in choice.name for choice in plan.choices)


def test_too_little_time_is_said_with_the_time_that_will_do():
    plan = plan_of(ANIMALS)
    line = warning(plan, plan.choices_at(PACE, 100), PACE)
    hours = float(re.search(r"--hours=([\d.]+) has time for 300", line)[1])
    assert line.startswith("warning: --hours has time for ") and steps_of(plan, PACE, 3600 * hours) in range(300, 350)
    assert not warning(plan, plan.choices_at(PACE, 900), PACE)


def steps_of(plan, pace, budget):
    return int(values(plan.choices_at(pace, budget))["train.num_steps"])


def test_a_crop_of_a_part_shrinks_more():
    """So it sees all of a photo at times."""
    scales = lambda side: [values(rules.crop(ANIMALS, side))[f"Augmentation.{end}_scale"] for end in ("min", "max")]
    assert scales(129) == ["0.5", "1.25"] and scales(257) == ["0.75", "1.5"]


@pytest.mark.parametrize(
    ("budget", "per_step", "expected", "why"),
    [
        (NO_BUDGET, 1.0, 1370, "200 passes"),  # 200 * 55 / 8 = 1375
        (600, 1.0, 600, "the budget"),
        (600, 0.1, 1370, "200 passes"),
        (30, 1.0, 30, "the budget"),
        (0, 1.0, 1, "the budget"),
    ],
)
def test_steps_fit_the_budget_and_the_masks(budget, per_step, expected, why):
    chosen = rules.steps(facts(num_masks=55), labeled_images=8, seconds_per_step=per_step, budget=budget)
    assert chosen.value == str(expected) and why in chosen.reason


def test_few_masks_have_some_steps_and_many_have_an_end():
    number = lambda masks: (
        rules.steps(facts(num_masks=masks), labeled_images=8, seconds_per_step=0.1, budget=NO_BUDGET).value
    )
    assert (number(5), number(10**6)) == (str(rules.LEAST_STEPS), str(rules.MOST_STEPS))


def test_statistics_follow_the_weights_in_time():
    momenta = [rules.batch_norm(steps).value for steps in (10, 800, 2000, 30_000, 10**6)]
    assert momenta == ["0.95", "0.95", "0.99", "0.997", "0.997"]
    assert "60 steps" in rules.batch_norm(800).reason


@pytest.mark.parametrize("gpus", [0, 1, 2, 3, 6, 8, 12])
def test_an_evaluation_divides_among_replicas(gpus):
    size = int(values(rules.evaluation(ANIMALS, Machine(gpus, 8)))["Evaluation.batch_size"])
    assert size % max(gpus, 1) == 0 and size >= max(gpus, 1)


def test_the_whole_time_is_within_the_budget():
    plan = plan_of(ANIMALS)
    for budget in (600, 900, 1200):
        assert 0.8 * budget < plan.seconds(plan.choices_at(PACE, budget), PACE) < budget


def test_slow_evaluations_are_few():
    assert rules.evaluations(10, NO_BUDGET) == rules.evaluations(1, 900) == 10
    assert rules.evaluations(30, 900) == 4 and rules.evaluations(300, 900) == rules.LEAST_EVALUATIONS
    assert values(rules.training(800, 4))["train.evaluate_every"] == "200"
    assert values(rules.training(1, 10))["train.evaluate_every"] == "1"


def test_pseudoseg_gets_what_a_short_run_needs():
    plan = lambda **changed: plan_of(facts(**changed))
    assert values(plan().choices)["build_sgc.projection_init"] == "'identity'"
    assert "build_sgc.projection_init" not in values(plan(num_unlabeled=0).choices)
    assert "TrainingData.unlabeled_batch_size" in values(plan().choices)


def test_the_hole_is_as_large_a_part_as_in_the_paper():
    assert values(plan_of(ANIMALS, side=129).choices)["Augmentation.cutout_half_side"] == "13"
    assert values(plan_of(facts(size=(2000, 2000)), side=513).choices)["Augmentation.cutout_half_side"] == "50"
    assert "Augmentation.cutout_half_side" not in values(plan_of(facts(num_unlabeled=0)).choices)


def test_rare_classes_weigh_more_where_no_pseudo_label_repeats_it():
    assert values(plan_of(facts(num_unlabeled=0)).choices)["train.class_weights"] == "'inverse_root'"
    assert "train.class_weights" not in values(plan_of(ANIMALS).choices)


def test_another_method_can_be_asked_for():
    asked = plan_of(ANIMALS, method_file="gin_configs/methods/supervised.gin")
    assert asked.method.value == "gin_configs/methods/supervised.gin"
    assert asked.method.others[0][0] == "gin_configs/methods/pseudoseg_guessed_labels.gin"


def test_rare_classes_are_named():
    assert rules.rare_classes(ANIMALS) == ["class_3"]


def test_a_gin_file_has_reasons_and_alternatives():
    text = gin_text(
        [
            Choice("train.num_steps", "800", "the budget", (("1600", "with more time"),)),
            Choice("", "a.gin", "a method"),
        ],
        head=["A plan.", ""],
    )
    assert text == (
        "# A plan.\n#\n\n# A method.\ninclude 'a.gin'\n# The budget.\ntrain.num_steps = 800\n"
        "# train.num_steps = 1600  # with more time\n"
    )
