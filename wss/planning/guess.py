"""Guesses what the photos of a plan show, where the plan's method learns from such guesses."""

import contextlib
import io
from pathlib import Path

import gin

from wss.data.given_image_labels import GivenImageLabels
from wss.data.image_label_files import write_image_labels
from wss.models.deeplab import build_model
from wss.models.weights.initial_weights import load_initial_weights
from wss.planning.measure import configure_as
from wss.planning.plan import Plan
from wss.pseudo_labels.guessed_labels import guess_image_labels
from wss.pseudo_labels.label_spreading import Agreement


def guess(plan: Plan) -> Agreement:
    """Guesses by the plan's encoder, writes the plan's `guesses_file` and prints how right the guesses are.

    A file that is there already is kept, for somebody may have corrected it.

    Raises:
        UserError: The initial weights do not fit, or the file cannot be written, or is no such file.
    """
    configure_as(plan)
    facts, splits = plan.facts, plan.facts.splits
    with contextlib.redirect_stdout(io.StringIO()):  # what initial weights are is said where they are trained
        model = build_model(facts.info)
        load_initial_weights(model, gin.get_bindings("train")["initial_weights"])
    found = guess_image_labels(model, facts.info, labeled_split=splits.labeled, unlabeled_split=str(splits.unlabeled))
    print(found.summary(), flush=True)
    if Path(plan.guesses_file).exists():
        GivenImageLabels.read(plan.guesses_file, facts.info).check(facts.info, str(splits.unlabeled))
        print(f"{plan.guesses_file}: kept, as somebody may have corrected it; remove it to have it written anew")
    else:
        write_image_labels(plan.guesses_file, found.labels(), facts.info.class_names)
        print(f"written to {plan.guesses_file}")
    return found.held_out
