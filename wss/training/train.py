"""`train` builds everything from the gin configuration and trains."""

from pathlib import Path

import gin
import keras
import tensorflow as tf

from wss.data.dataset_info import load_dataset
from wss.data.training_data import TrainingData
from wss.evaluation.evaluation import Evaluation
from wss.evaluation.evaluator import Result
from wss.methods.base import Method
from wss.methods.components.ema import WeightAverage
from wss.models.deeplab import build_model
from wss.models.weights.initial_weights import load_initial_weights
from wss.run_directory import RunDirectory
from wss.runtime.precision import set_precision
from wss.runtime.strategy import hosts_together, is_chief
from wss.training.loop import Intervals, Trainer
from wss.training.optimizers import build_optimizer
from wss.training.step import TrainStep


@gin.configurable
def train(
    run_dir: str,
    strategy: tf.distribute.Strategy,
    method: Method = gin.REQUIRED,
    num_steps: int = gin.REQUIRED,
    seed: int = 0,
    steps_per_loop: int = 10,
    summary_every: int = 100,
    pictures_every: int = 1000,
    checkpoint_every: int = 1000,
    evaluate_every: int = 0,
    keep_checkpoints: int = 3,
    evaluate_at_end: bool = True,
    initial_weights: str | None = None,
    initialize_last_layer: bool = True,
    weight_decay: float | None = None,
    clip_norm: float | None = None,
    last_layer_multiplier: float = 1.0,
    head_multiplier: float = 1.0,
    sgc_multiplier: float = 1.0,
    ema_decay: float | None = None,
    jit_compile: bool = False,
    dry_run: bool = False,
) -> Result | None:
    """Trains a model, or goes on where the run directory stops.

    Args:
        run_dir: everything the run writes, see `wss.run_directory`.
        strategy: to train and evaluate under.
        method: what is minimised, such as `@PseudoSeg()`.
        num_steps: optimizer steps of the whole run.
        seed: of initial weights, dropout, order and augmentation.
        steps_per_loop: steps without looking from the host.
        summary_every, pictures_every, checkpoint_every, evaluate_every: steps between; 0 is never.
        keep_checkpoints: how many of the last.
        evaluate_at_end: evaluate the finished model.
        initial_weights: a TensorFlow 1 checkpoint of DeepLab or of the original, "imagenet", or a file; what there is
            and what may be absent: `wss.models.weights.initial_weights.load_initial_weights`.
        initialize_last_layer: False starts the layers whose size is the number of classes afresh.
        weight_decay: factor of sum(w^2) / 2 over kernels; None takes the backbone's default.
        clip_norm: largest global norm of the gradient; None for no clipping.
        last_layer_multiplier: learning-rate factor of the last layers.
        head_multiplier: of segmentation and auxiliary head and classifier, which start afresh; multiplies with that of their
            last layers.
        sgc_multiplier: of self-attention Grad-CAM, which starts afresh too.
        ema_decay: evaluate and export a moving average of the weights; None for the weights themselves.
        jit_compile: compile the step by XLA, on a single device; several times slower on a CPU, always done on a TPU.
        dry_run: take two steps and evaluate one batch, print an estimate of time and memory, write nothing lasting.

    Returns:
        The evaluation at the end, or None without one.

    Raises:
        TrainingDiverged: a loss is not finite; the last checkpoint is kept.
        UserError: anything that the user can mend.
    """
    set_precision()
    keras.utils.set_random_seed(seed)
    info = load_dataset()
    with strategy.scope():
        model = build_model(info)
        if initial_weights:
            print(load_initial_weights(model, initial_weights, initialize_last_layer))
        average = WeightAverage(model, ema_decay) if ema_decay else None
    data = TrainingData(info, model.mean_pixel, seed)
    data.check(method.streams, getattr(method, "use_image_labels", False))
    with strategy.scope():
        labeled_images = data.batch_sizes["labeled"] * strategy.num_replicas_in_sync
        optimizer = build_optimizer(num_steps, batch_size=labeled_images)
    decay = model.default_weight_decay if weight_decay is None else weight_decay
    step = TrainStep(
        strategy,
        model,
        method,
        optimizer,
        decay,
        seed,
        clip_norm,
        last_layer_multiplier,
        average,
        jit_compile,
        head_multiplier,
        sgc_multiplier,
    )
    evaluation = Evaluation(model, info, strategy) if evaluate_at_end or evaluate_every else None
    run = RunDirectory(Path(run_dir), writes=is_chief(strategy))
    intervals = Intervals(summary_every, pictures_every, checkpoint_every, evaluate_every)
    trainer = Trainer(step, data, run, num_steps, steps_per_loop, intervals, keep_checkpoints, evaluation)
    with hosts_together(strategy):
        if dry_run:
            trainer.dry_run()
            return None
        run.save_config()
        return trainer.run()
