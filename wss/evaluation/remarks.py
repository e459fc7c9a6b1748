"""What a person should notice in an evaluation: classes that are never predicted, a network that has learnt nothing."""

import numpy as np

from wss.evaluation.result import Result

NOT_LEARNT = "it has learnt nothing yet: train longer, or try another learning rate"


def remarks(result: Result) -> list[str]:
    """Returns a line for each thing that a person should notice; none for a result as it should be."""
    labeled, predicted = result.confusion.sum(axis=1), result.confusion.sum(axis=0)
    if not labeled.any():
        return []
    names = np.array(result.class_names)
    if np.count_nonzero(predicted) == 1:
        only = names[predicted.argmax()]
        return [f"Every pixel of every image is predicted as {str(only)!r}; {NOT_LEARNT}."]
    lines = []
    if never := [repr(str(name)) for name in names[(labeled > 0) & (predicted == 0)]]:
        lines.append(f"Never predicted, though in the labels: {', '.join(never)}.")
    # Of a prediction that is the most frequent class everywhere.
    constant = labeled.max() / labeled.sum() / np.count_nonzero(labeled)
    if result.mean_iou < constant:
        most = str(names[labeled.argmax()])
        lines.append(f"The mIoU is below the {100 * constant:.2f} of predicting {most!r} everywhere; {NOT_LEARNT}.")
    return lines
