"""All that gin files can name: importing a module registers its configurables, so gin files need no imports of their own."""

from wss.data import augment, dataset_info, resize, training_data
from wss.evaluation import evaluation
from wss.inference import photo_predictor
from wss.methods import classification, supervised
from wss.methods.bap_nal import box_classification, box_masks, noise_aware, stages
from wss.methods.components import image_classifier
from wss.methods.dars import rounds, self_training
from wss.methods.esl import esl, part_contrast, projector
from wss.methods.pseudoseg import branches, pseudoseg
from wss.methods.unimatch import fixmatch, unimatch, unimatch_v2
from wss.models import deeplab
from wss.ops import dense_crf
from wss.runtime import precision
from wss.training import optimizers, train

MODULES = (
    augment,
    box_classification,
    box_masks,
    branches,
    classification,
    dataset_info,
    deeplab,
    dense_crf,
    esl,
    evaluation,
    fixmatch,
    image_classifier,
    noise_aware,
    optimizers,
    part_contrast,
    photo_predictor,
    precision,
    projector,
    pseudoseg,
    resize,
    rounds,
    self_training,
    stages,
    supervised,
    train,
    training_data,
    unimatch,
    unimatch_v2,
)
