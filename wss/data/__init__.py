"""From images and masks to batches: dataset description, TFRecord schema, augmentation, tf.data pipelines."""
