"""`train` builds everything from the gin configuration and trains."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gin
import keras
import tensorflow as tf

from wss.data.class_weights import RULES, class_weights
from wss.data.dataset_info import DatasetInfo, load_dataset
from wss.data.training_data import TrainingData
from wss.errors import UserError
from wss.evaluation.evaluation import Evaluation
from wss.evaluation.result import Result
from wss.methods.base import Method
from wss.methods.components.ema import ExponentialMovingAverage
from wss.models.deeplab import DeepLab, build_model
from wss.models.weights.initial_weights import load_initial_weights
from wss.parameter_ranges import Relation, in_ranges
from wss.ranges import (
    LARGEST_BATCH,
    LARGEST_SEED,
    LARGEST_STEP,
    Either,
    Instance,
    Integer,
    Number,
    OneOf,
    OrNone,
    Several,
    Switch,
    Text,
)
from wss.run_directory import RunDirectory
from wss.runtime.precision import set_precision
from wss.runtime.strategy import hosts_together, is_chief
from wss.training import rehearsal
from wss.training.cadence import CHECKPOINTS, PICTURES, SUMMARIES
from wss.training.checkpoints import SavedCheckpoint, restore_parts, saved_checkpoints
from wss.training.loop import Intervals, Trainer
from wss.training.optimizers import build_optimizer
from wss.training.run_facts import run_facts, run_warnings
from wss.training.step import TrainStep
from wss.training.validation import Validation

EVALUATED = "an evaluate_every above 0"


@gin.configurable("train")
@in_ranges(
    "train",
    Relation(("keep_best", "evaluate_every"), lambda keep, every: not keep or every > 0, EVALUATED),
    Relation(("early_stopping", "evaluate_every"), lambda patience, every: not patience or every > 0, EVALUATED),
    Relation(
        ("class_weights",), lambda weights: weights is None or isinstance(weights, str) or any(weights), "one above 0"
    ),
    method=Instance(Method, "a method with brackets, such as @PseudoSeg()"),
    num_steps=Integer(1, LARGEST_STEP),
    seed=Integer(0, LARGEST_SEED),
    steps_per_loop=Integer(1, LARGEST_STEP),
    summary_every=OrNone(Integer(0, LARGEST_STEP)),
    pictures_every=OrNone(Integer(0, LARGEST_STEP)),
    checkpoint_every=OrNone(Integer(0, LARGEST_STEP)),
    evaluate_every=Integer(0, LARGEST_STEP),
    keep_checkpoints=Integer(1),
    keep_best=Switch(),
    early_stopping=OrNone(Integer(1, LARGEST_STEP)),
    evaluate_at_end=Switch(),
    initial_weights=OrNone(Text("a checkpoint, a file of weights or 'imagenet'", paths=True)),
    initialize_last_layer=Switch(),
    weight_decay=OrNone(Number(minimum=0)),
    class_weights=OrNone(Either(OneOf(RULES), Several(Number(minimum=0), 2))),
    accumulated_batches=Integer(1, LARGEST_BATCH),
    clip_norm=OrNone(Number(above=0)),
    last_layer_multiplier=Number(minimum=0),
    head_multiplier=Number(minimum=0),
    sgc_multiplier=Number(minimum=0),
    bias_multiplier=OrNone(Number(minimum=0)),
    ema_decay=OrNone(Number(minimum=0, below=1)),
    jit_compile=Switch(),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """The settings of a training; gin calls it `train`.

    Attributes:
        method: The method whose losses are minimised, such as `@PseudoSeg()`.
        num_steps: Optimizer steps of the whole run.
        seed: Seed of initial weights, dropout, order and augmentation.
        steps_per_loop: Steps without looking from the host.
        summary_every: Steps between scalars for TensorBoard; 0 is never, here and below. None is a tenth of `num_steps`, at
            most 100.
        pictures_every: Steps between pictures for TensorBoard. None is a quarter of `num_steps`, at most 1000.
        checkpoint_every: Steps between checkpoints; there is always one at the end. None is a tenth of `num_steps`, at most
            1000.
        evaluate_every: Steps between evaluations.
        keep_checkpoints: Number of the last checkpoints that are kept.
        keep_best: Whether the weights of the step with the best mIoU are kept beside the last ones, and are those that the
            run is evaluated, shown and labels with. Their mIoU is chosen on the images that it is measured on, so it is
            somewhat too high.
        early_stopping: Number of evaluations without a better mIoU after which the run ends; None for all steps.
        evaluate_at_end: Whether the finished network is evaluated.
        initial_weights: A TensorFlow 1 checkpoint of DeepLab or of the original, "imagenet", or a file, see
            `load_initial_weights`. None starts from random weights.
        initialize_last_layer: Whether layers whose size is the number of classes take their initial weights too.
        weight_decay: Factor of sum(w^2) / 2 over kernels; None takes the backbone's default.
        class_weights: Weights of the classes in the cross-entropy on masks: "median_frequency", "inverse_root", or a
            number for each class, see `wss.data.class_weights`. None weighs all alike.
        accumulated_batches: Number of batches whose gradients are averaged in one step of the optimizer, for a larger
            batch than memory holds. Batch-norm statistics are those of each batch.
        clip_norm: Largest global norm of the gradient; None for no clipping.
        last_layer_multiplier: Factor of the learning rate of the last layers.
        head_multiplier: Factor for the heads and a method's own layers, which start afresh, over that of their last layers.
        sgc_multiplier: Factor for self-attention Grad-CAM, which starts afresh too.
        bias_multiplier: Factor for all biases, over those above; Caffe's networks take 2. None is DeepLab's: 2 for those of
            DeepLabv3+'s last layers, else 1. Biases have no weight decay either way.
        ema_decay: Decay of a moving average of the weights, which is evaluated and exported; None for the weights
            themselves.
        jit_compile: Whether XLA compiles the step, on a single device; several times slower on a CPU, always done on a TPU.
    """

    method: Method = gin.REQUIRED
    num_steps: int = gin.REQUIRED
    seed: int = 0
    steps_per_loop: int = 10
    summary_every: int | None = None
    pictures_every: int | None = None
    checkpoint_every: int | None = None
    evaluate_every: int = 0
    keep_checkpoints: int = 3
    keep_best: bool = False
    early_stopping: int | None = None
    evaluate_at_end: bool = True
    initial_weights: str | None = None
    initialize_last_layer: bool = True
    weight_decay: float | None = None
    class_weights: str | Sequence[float] | None = None
    accumulated_batches: int = 1
    clip_norm: float | None = None
    last_layer_multiplier: float = 1.0
    head_multiplier: float = 1.0
    sgc_multiplier: float = 1.0
    bias_multiplier: float | None = None
    ema_decay: float | None = None
    jit_compile: bool = False

    def trainer(self, run: RunDirectory, strategy: tf.distribute.Strategy) -> Trainer:
        """Builds everything that gin configures for a run; writes nothing."""
        set_precision()
        keras.utils.set_random_seed(self.seed)
        info = load_dataset()
        kept_encoder = run.kept_encoder if saved_checkpoints(run) else None
        with strategy.scope():
            network = build_network(info, self.method, kept_encoder=kept_encoder)
            if self.initial_weights:
                print(load_initial_weights(network, self.initial_weights, last_layer=self.initialize_last_layer))
            network.state = self.method.build_state(network, info)
            average = averaged_weights(network, self.method, self.ema_decay)
        data = TrainingData(info, network.padding.color, seed=self.seed)
        network.padding.check("TrainingData.crop_size", data.crop_size)
        network.padding.check("Labeling.window", gin.get_bindings("Labeling").get("window"))  # read after the training
        data.check(self.method.streams)
        network.class_weights = self._class_weights(data)
        self.method.check(data)
        evaluation = None
        if self.evaluate_at_end or self.evaluate_every:
            evaluation = Evaluation().open(network, info, strategy)
        validation = None
        if evaluation is not None and self.evaluate_every:
            validation = Validation(
                run, info, evaluation.split, keeps_best=self.keep_best, patience=self.early_stopping
            )
        return Trainer(
            self._step(network, average, data, strategy),
            data,
            run,
            num_steps=self.num_steps,
            steps_per_loop=self.steps_per_loop,
            intervals=Intervals(
                summary=SUMMARIES.every(self.summary_every, self.num_steps),
                pictures=PICTURES.every(self.pictures_every, self.num_steps),
                checkpoint=CHECKPOINTS.every(self.checkpoint_every, self.num_steps),
                evaluation=self.evaluate_every,
            ),
            keep_checkpoints=self.keep_checkpoints,
            evaluation=evaluation,
            validation=validation,
        )

    def _step(
        self,
        network: DeepLab,
        average: ExponentialMovingAverage | None,
        data: TrainingData,
        strategy: tf.distribute.Strategy,
    ) -> TrainStep:
        with strategy.scope():
            images = data.batch_sizes["labeled"] * strategy.num_replicas_in_sync * self.accumulated_batches
            optimizer = build_optimizer(self.num_steps, batch_size=images)
        return TrainStep(
            strategy,
            network,
            self.method,
            optimizer=optimizer,
            weight_decay=network.default_weight_decay if self.weight_decay is None else self.weight_decay,
            seed=self.seed,
            clip_norm=self.clip_norm,
            rate_factors=network.rate_factors(
                last_layer=self.last_layer_multiplier,
                head=self.head_multiplier,
                sgc=self.sgc_multiplier,
                bias=self.bias_multiplier,
            ),
            average=average,
            jit_compile=self.jit_compile,
            accumulated_batches=self.accumulated_batches,
        )

    def _class_weights(self, data: TrainingData) -> tuple[float, ...] | None:
        """Returns the weights of the classes, and prints them."""
        if self.class_weights is None:
            return None
        if not self.method.weighs_classes:
            raise UserError(
                f"train.class_weights = {self.class_weights!r}: {type(self.method).__name__} weighs no classes; remove it"
            )
        weights = class_weights(data.info, data.labeled_split, self.class_weights)
        shown = ", ".join(f"{name} {weight:.3g}" for name, weight in zip(data.info.class_names, weights, strict=True))
        print(f"class weights: {shown}")
        return weights


def train(run_dir: str, strategy: tf.distribute.Strategy, *, dry_run: bool = False) -> Result | None:
    """Trains what gin configures, or goes on where the run directory stops.

    Args:
        run_dir: Folder for everything that the run writes, see `wss.run_directory`.
        strategy: The strategy to train and evaluate under.
        dry_run: Whether to take two steps and evaluate one batch only, print the facts of `run_facts` and an estimate of
            time and memory, and write nothing lasting.

    Returns:
        The evaluation at the end, or None without one.

    Raises:
        TrainingDiverged: A loss or a weight is not finite; the last checkpoint is kept.
        UserError: Anything that the user can mend.
    """
    run, settings = RunDirectory(Path(run_dir), writes=is_chief(strategy)), Training()
    told: dict[str, Any] = {"keep_checkpoints": settings.keep_checkpoints, "initial_weights": settings.initial_weights}
    if dry_run:
        trainer = settings.trainer(run, strategy)
        with hosts_together(strategy):
            print("\n".join(run_facts(trainer, **told)), flush=True)
            rehearsal.dry_run(trainer)
        return None
    with run.held():
        trainer = settings.trainer(run, strategy)
        with hosts_together(strategy):
            for line in run_warnings(trainer, **told) if run.writes else ():
                print(line, file=sys.stderr, flush=True)
            return trainer.run()


def build_network(info: DatasetInfo, method: Method, *, kept_encoder: Path | None = None, **settings) -> DeepLab:
    """Builds the network that gin configures, with the method's own layers.

    Args:
        info: The data set.
        method: The method that brings the layers.
        kept_encoder: See `NetworkSettings.build`.
        **settings: Fields of `NetworkSettings`, over those of gin.
    """
    network = build_model(info, kept_encoder=kept_encoder, **settings)
    network.branches = method.build(network, info)
    return network


def restore_evaluated(network: DeepLab, method: Method, info: DatasetInfo, *, checkpoint: SavedCheckpoint) -> None:
    """Restores from a checkpoint of a run the weights that the run would evaluate, for the configuration of gin.

    Args:
        network: The network, which has no state yet.
        method: The run's method.
        info: The data set.
        checkpoint: The checkpoint, which was found readable.
    """
    network.state = method.build_state(network, info)
    average = averaged_weights(network, method, gin.get_bindings("train").get("ema_decay"))
    parts = {"model": network, **({} if average is None else {"average": average})}
    restore_parts(parts, checkpoint)
    evaluated = average or method.evaluated(network)
    if evaluated is not None:
        evaluated.copy_into_network()


def averaged_weights(network: DeepLab, method: Method, decay: float | None) -> ExponentialMovingAverage | None:
    """Returns the average that `train.ema_decay` asks for, or None.

    Raises:
        UserError: The method evaluates averaged weights of its own.
    """
    if not decay:
        return None
    if method.evaluated(network) is not None:
        raise UserError(
            f"train.ema_decay = {decay}: {type(method).__name__} evaluates averaged weights of its own; remove it"
        )
    return ExponentialMovingAverage(network, decay=decay)
