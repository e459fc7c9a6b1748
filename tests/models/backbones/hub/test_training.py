"""Every method runs on a ViT: steps, figures, maps, evaluation, two replicas; and a stopped run goes on bit for bit."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import dataset_of, random_batch, take_steps, train_step
from stopped_runs import run_training
from tiny import TINY, bindings

from wss import config, experiment
from wss.errors import UserError
from wss.inference.prediction import predict_and_explain
from wss.methods.esl.esl import ESL
from wss.methods.pseudoseg.pseudoseg import PseudoSeg
from wss.methods.supervised import Supervised
from wss.methods.unimatch.fixmatch import FixMatch
from wss.methods.unimatch.unimatch import UniMatch
from wss.methods.unimatch.unimatch_v2 import UniMatchV2
from wss.models.backbones.hub import presets
from wss.run_directory import RunDirectory
from wss.training.run_facts import run_warnings
from wss.training.run_record import saved_parameters
from wss.training.train import Training, build_network

METHODS = {
    "supervised": Supervised,
    "PseudoSeg": PseudoSeg,
    "ESL": ESL,
    "FixMatch": functools.partial(FixMatch, threshold=0.0),
    "UniMatch": functools.partial(UniMatch, threshold=0.0),
    "UniMatch V2": functools.partial(UniMatchV2, threshold=0.0),
}


def network_on(vit, method, **options):
    keras.utils.set_random_seed(0)
    info = dataset_of(4)
    network = build_network(info, method, head="dpt", **vit, **options)
    network.state = method.build_state(network, info)
    return network


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_steps(name, vit):
    method = METHODS[name]()
    step = train_step(method, build=functools.partial(network_on, vit, method))
    before = [np.array(variable) for variable in step.model.backbone.trainable_variables]
    reports = take_steps(step, random_batch(size=42), 3)
    assert all(np.isfinite(list(report.values())).all() for report in reports)
    after = [np.array(variable) for variable in step.model.backbone.trainable_variables]
    moved = [np.any(one != other) for one, other in zip(before, after, strict=True)]
    assert np.mean(moved) > 0.8  # the bias of a key has no gradient, and others little at this rate
    network, batch = step.model, random_batch(size=42)
    assert method.training_figures(network, batch)
    images = batch["labeled"]["image"]
    probabilities, _ = predict_and_explain(network, method, images, tf.constant([[42, 42], [30, 35]]))
    assert probabilities.shape == (2, 42, 42, 4)


@pytest.mark.parametrize("options", [{}, {"recompute": True}, {"freeze_encoder": True}], ids=str)
def test_two_replicas_step_alike(vit, two_replicas, options):
    batch = random_batch(size=42)
    doubled = tf.nest.map_structure(lambda value: tf.concat([value, value], 0), batch)
    results = []
    for strategy, of_step in ((None, batch), (two_replicas, doubled)):
        method = UniMatchV2(threshold=0.0, cut_mix_probability=0.0, complementary_dropout=False)
        step = train_step(method, strategy, build=functools.partial(network_on, vit, method, **options))
        take_steps(step, of_step, 2)
        results.append([np.array(variable) for variable in step.model.variables])
    moved = 0
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
        moved += one.size
    assert moved > 1000


OF_VIT = {
    **{name: value for name, value in TINY.items() if not name.startswith("build_model")},
    "build_model.head": "'dpt'",
    "TrainingData.crop_size": "(42, 42)",
    "Evaluation.original_size": True,
    "build_optimizer.name": "'adamw'",
    "build_optimizer.decoupled_weight_decay": 0.01,
    "build_optimizer.decay_with_rate": True,
    "train.head_multiplier": 40.0,
    "train.steps_per_loop": 1,
    "train.pictures_every": 3,
    "train.method": "@UniMatchV2()",
    "UniMatchV2.threshold": 0.0,
}


def parameters_of(vit, records, **more) -> list[str]:
    of_model = {f"build_model.{name}": repr(value) for name, value in {**vit, **more}.items()}
    return bindings({**OF_VIT, **of_model}, records)


@pytest.mark.parametrize("options", [{}, {"freeze_encoder": True}, {"recompute": True}], ids=str)
def test_a_stopped_run_goes_on_bit_for_bit(vit, options, tiny_shapes, tmp_path):
    parameters = parameters_of(vit, tiny_shapes, **options)
    whole = run_training(tmp_path / "whole", parameters)
    assert run_training(tmp_path / "parts", parameters, stop=True).finished_steps == 3
    resumed = run_training(tmp_path / "parts", parameters)
    values = [
        [*trainer.step.model.variables, *trainer.step.model.state.averages, *trainer.step.optimizer.variables]
        for trainer in (whole, resumed)
    ]
    for one, other in zip(*values, strict=True):
        np.testing.assert_array_equal(np.array(one), np.array(other))


def saved_preset(folder, vit) -> dict:
    """Parameters of `build_model` for the small DINOv2 as a folder with weights."""
    import keras_hub

    preset = presets.Preset.of(vit["encoder_preset"], weights=False)
    presets.build_backbone(preset.class_name, preset.config).save_to_preset(str(folder))
    keras_hub.layers.DINOV2ImageConverter(scale=1 / 255, offset=0.0).save_to_preset(str(folder))
    return {**vit, "encoder_preset": str(folder), "encoder_weights": True}


@pytest.mark.parametrize("now", ["gone", "moved", "another"])
def test_a_stopped_run_goes_on_wherever_its_preset_is(vit, tiny_shapes, tmp_path, now, capsys):
    """The run has its encoder and weights; memory may be traded for time on the way."""
    folder, elsewhere, run = (tmp_path / name for name in ("preset", "elsewhere", "run"))
    trained = run_training(run, parameters_of(saved_preset(folder, vit), tiny_shapes), stop=True)
    folder.rename(elsewhere)
    where = folder if now == "gone" else elsewhere
    if now == "another":
        file = elsewhere / "config.json"
        file.write_text(file.read_text().replace('"num_heads": 2', '"num_heads": 4'))
    preset = {**vit, "encoder_preset": str(where), "encoder_weights": True}
    parameters = parameters_of(preset, tiny_shapes, recompute=True)
    if now == "another":
        with pytest.raises(UserError, match=f"encoder_preset = '{where}' is another encoder than {run}/encoder, with"):
            run_training(run, parameters)
        return
    resumed = run_training(run, parameters)
    assert (trained.finished_steps, resumed.finished_steps) == (3, 6)
    assert "build_model.recompute was False, is True" in capsys.readouterr().err
    assert saved_parameters(RunDirectory(run))["build_model.encoder_preset"] == repr(str(where))
    assert experiment.open_run(str(run), [], tf.distribute.get_strategy()).step == 6


def test_windows_of_labelling_are_checked_before_the_training(vit, tiny_shapes, tmp_path):
    parameters = [*parameters_of(vit, tiny_shapes), "Labeling.window = (50, 50)"]
    with pytest.raises(
        UserError, match=r"Labeling.window = \(50, 50\): the encoder takes multiples of its patch of 14"
    ):
        run_training(tmp_path / "run", parameters)


@pytest.mark.parametrize("frozen", [False, True])
def test_random_weights_are_warned_of_where_a_run_begins(vit, tiny_shapes, tmp_path, frozen):
    config.parse_config([], parameters_of(vit, tiny_shapes, freeze_encoder=frozen))
    trainer = Training().trainer(RunDirectory(tmp_path), tf.distribute.get_strategy())
    facts = lambda: "\n".join(run_warnings(trainer, keep_checkpoints=1, initial_weights=None))
    kept = ", and build_model.freeze_encoder keeps the encoder as it is" if frozen else ""
    assert f"warning: build_model.encoder_weights = False{kept}, and " in facts()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/ckpt-3.index").touch()
    assert "encoder_weights" not in facts()


def test_a_run_is_opened_without_its_preset(vit, tiny_shapes, tmp_path, monkeypatch):
    """The run has all weights, and what the encoder is; the preset may be gone."""
    trained = run_training(tmp_path / "run", parameters_of(vit, tiny_shapes))
    monkeypatch.setattr(presets, "ARCHITECTURES", {})
    run = experiment.open_run(str(tmp_path / "run"), [], tf.distribute.get_strategy())
    teacher = [average.numpy() for average in trained.step.model.state.averages]
    floats = [variable for variable in run.model.variables if "float" in variable.dtype]
    for one, other in zip(teacher, floats, strict=True):
        np.testing.assert_array_equal(one, other)
    assert RunDirectory(tmp_path / "run").evaluation("val").is_file()
