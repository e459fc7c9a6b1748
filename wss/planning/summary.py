"""A plan in words: the head of its gin file, and the table for the terminal."""

import math
from collections.abc import Sequence

from wss.planning.plan import Pace, Plan, integer
from wss.planning.rules import FEWEST_STEPS, LEAST_STEPS, Choice, rare_classes
from wss.progress import format_seconds
from wss.tables import format_columns


def head(plan: Plan, choices: Sequence[Choice], pace: Pace, *, command: str) -> list[str]:
    """Returns the lines at the top of a plan's gin file.

    Args:
        plan: The plan.
        choices: All its choices.
        pace: What was measured of it.
        command: The command that trains it.
    """
    return [
        f"A plan of wss-plan for {plan.data_dir}, on {plan.machine}: {estimate(plan, choices, pace)}.",
        "Each line stands below its reason. Those that are commented out are alternatives.",
        "",
        f"  {command}",
    ]


def table(plan: Plan, choices: Sequence[Choice], pace: Pace) -> str:
    """Returns a plan as a person reads it: the data set, a row for each choice, time and memory."""
    rows = [(choice.name.split(".")[-1] or "include", choice.value, choice.reason) for choice in choices]
    lines = [data_line(plan), "", format_columns([("parameter", "value", "reason"), *rows], "<"), ""]
    if rare := rare_classes(plan.facts):
        names = ", ".join(rare)
        lines.append(f"Few masks show {names}: paint more of them, their IoU will say little.")
    return "\n".join([*lines, f"{estimate(plan, choices, pace)}."])


def warning(plan: Plan, choices: Sequence[Choice], pace: Pace) -> str:
    """Returns a line if the steps are too few to teach a network anything, "" if not."""
    if (steps := integer(choices, "train.num_steps")) >= FEWEST_STEPS:
        return ""
    hours = math.ceil(plan.budget_of(LEAST_STEPS, pace) / 36) / 100
    return (
        f"warning: --hours has time for {steps} step{'s' if steps > 1 else ''}; below {FEWEST_STEPS} a network predicts "
        f"little but the most frequent class; --hours={hours:.2f} has time for {LEAST_STEPS}"
    )


def data_line(plan: Plan) -> str:
    """Returns what the data set has, in one line."""
    facts = plan.facts
    height, width = facts.size
    photos = f", {facts.num_unlabeled} photos without ({facts.num_tagged} with tags)" if facts.num_unlabeled else ""
    return (
        f"{plan.data_dir}: {facts.info.num_classes} classes, {facts.num_masks} masks{photos}, {facts.num_validation} masks "
        f"for validation; photos of {height} x {width}, objects {100 * facts.median_object_side():.0f} % of their side"
    )


def estimate(plan: Plan, choices: Sequence[Choice], pace: Pace) -> str:
    """Returns time and memory in words."""
    return (
        f"{integer(choices, 'train.num_steps')} steps of {pace.step:.2f} s, with start and evaluations "
        f"{format_seconds(plan.seconds(choices, pace))}; "
        f"{pace.memory / 2**30:.1f} GiB, {pace.memory_of}"
    )
