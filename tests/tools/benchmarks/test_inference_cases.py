"""The cases of inference and of CAMs in small, through the harness."""

import pytest
from benchmarks import cam, esl, export, inference, methods, step
from benchmarks.measure import Case, measure

SMALL = {"size": 65, "backbone": "mobilenet_v2"}


@pytest.mark.slow
def test_inference_in_small():
    """Four windows, one at a time, count four times as many operations as one image; two images twice as many."""
    sliding = {**SMALL, "size": 97, "window": 65, "windows_at_once": 1}
    cases = [
        Case("two images", inference.build, {**SMALL, "batch": 2, "precision": "mixed_bfloat16"}),
        Case("four windows", inference.build, sliding),
    ]
    two, four = measure(cases, repeats=2)
    for row, images in ((two, 2), (four, 1)):
        assert 0 < row.fastest <= row.seconds <= row.slowest and row.gflops > 0
        assert row.images_per_second * row.seconds == pytest.approx(images)
    assert four.gflops * four.seconds == pytest.approx(2 * two.gflops * two.seconds)


@pytest.mark.slow
def test_exports_in_small():
    small = {"backbone": "mobilenet_v2", "size": 33, "num_classes": 3}
    rows = measure([Case(name, export.build, {**small, "name": name}) for name in ("network", "onnx")], repeats=1)
    assert all(row.images_per_second * row.seconds == pytest.approx(1) for row in rows)


@pytest.mark.slow
def test_cams_in_small():
    """The closed form is one product of [4 * 5 * 5, 8] and [8, 3]."""
    options = {"num_classes": 4, "side": 5, "channels": 8}
    tape, closed = measure([Case(str(c), cam.build, {"closed_form": c, **options}) for c in (False, True)], repeats=1)
    assert tape.seconds > 0 and closed.seconds > 0
    assert closed.gflops * closed.seconds * 1e9 == pytest.approx(2 * 4 * 5 * 5 * 8 * 3)


@pytest.mark.slow
def test_esl_in_small():
    """A supervised step of as many images is a part of ESL's; a part runs by itself."""
    small = {"backbone": "mobilenet_v2", "batch": 2, "num_classes": 3, "crop": 33}
    parts = [Case("contrast", esl.build_part, {**small, "part": "contrast", "parameters": (esl.SEPARABLE,)})]
    steps = [
        Case("supervised", step.build, {**small, "batch": 4, "method": "Supervised"}),
        Case("ESL", step.build, {**small, "method": "ESL", "parameters": (esl.SEPARABLE,)}),
    ]
    supervised, all_of_it, *rest = measure([*steps, *parts], repeats=1)
    assert supervised.images_per_second * supervised.seconds == pytest.approx(4 * step.STEPS)
    assert all_of_it.images_per_second * all_of_it.seconds == pytest.approx(4 * step.STEPS)
    assert all_of_it.gflops * all_of_it.seconds > 1.5 * supervised.gflops * supervised.seconds
    assert min(row.seconds for row in rest) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", [*methods.STEPS_OF])
def test_a_step_of_each_method_in_small(name):
    options = {**methods.STEPS_OF[name], "backbone": "mobilenet_v2", "batch": 2, "num_classes": 3, "crop": 33}
    (row,) = measure([Case(name, step.build, options)], repeats=1)
    assert row.seconds > 0 and row.gflops > 0


def test_the_cases_have_names_of_their_own():
    for module in (inference, cam, esl, export, methods):
        names = [case.name for case in module.cases()]
        assert len(set(names)) == len(names) >= 4
