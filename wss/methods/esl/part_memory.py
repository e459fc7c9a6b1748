"""The memory of part features: a queue for each part of each class (ESL, Eq. 8), and draws from them."""

import tensorflow as tf

from wss.methods.components.ema import replica_variable
from wss.ops.draws import integer_below

DRAWS = ("entries", "queues")


class PartMemory(tf.Module):
    """First-in-first-out queues of vectors, one for each of G = C K parts; the same on all replicas.

    Args:
        parts: G.
        capacity: Number q of vectors that a queue holds.
        dimension: L of the vectors.

    Attributes:
        vectors: float32 variable [G q + 1, L]; the last row takes what is not kept.
        pushed: int64 variable [G], the number of vectors that have been pushed.
    """

    def __init__(self, parts: int, capacity: int, dimension: int):
        super().__init__()
        self.parts, self.capacity = parts, capacity
        self.vectors = replica_variable(tf.zeros([parts * capacity + 1, dimension]), "vectors")
        self.pushed = replica_variable(tf.zeros([parts], tf.int64), "pushed")

    @property
    def sizes(self) -> tf.Tensor:
        """The number of vectors in each queue, int32 [G]."""
        return tf.cast(tf.minimum(tf.convert_to_tensor(self.pushed), self.capacity), tf.int32)

    def push(self, vectors: tf.Tensor, present: tf.Tensor) -> None:
        """Pushes vectors of all replicas in the order of replicas and images; in a replica context.

        Args:
            vectors: float32 [B, G, L], this replica's.
            present: bool [B, G], the vectors that are pushed.
        """
        context, dimension = tf.distribute.get_replica_context(), vectors.shape[-1]
        if context.num_replicas_in_sync > 1:
            vectors, kept = context.all_gather([vectors, tf.cast(present, tf.int32)], axis=0)
        else:
            kept = tf.cast(present, tf.int32)
        pushed = tf.convert_to_tensor(self.pushed)
        number = tf.reduce_sum(kept, axis=0)
        rank = tf.cumsum(kept, axis=0, exclusive=True)
        slot = tf.cast((pushed + tf.cast(rank, tf.int64)) % self.capacity, tf.int32)
        # Of more vectors than a queue holds the last ones stay.
        kept = (kept > 0) & (rank >= number - self.capacity)
        place = tf.where(kept, tf.range(self.parts) * self.capacity + slot, self.parts * self.capacity)
        values = tf.tensor_scatter_nd_update(
            tf.convert_to_tensor(self.vectors), tf.reshape(place, [-1, 1]), tf.reshape(vectors, [-1, dimension])
        )
        self.vectors.assign(values)
        self.pushed.assign(pushed + tf.cast(number, tf.int64))

    def draw_own(self, seed: tf.Tensor, part: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws a vector from the queue of each part.

        Args:
            seed: Stateless seed, int [2].
            part: int32 [...], numbers of parts.

        Returns:
            float32 [..., L] and bool [...], whether the queue has one.
        """
        size = tf.gather(self.sizes, part)
        slot = integer_below(tf.random.stateless_uniform(part.shape, seed), size)
        return tf.gather(tf.convert_to_tensor(self.vectors), part * self.capacity + slot), size > 0

    def draw_others(self, seed: tf.Tensor, number: int, uniform_over: str = "entries") -> tuple[tf.Tensor, tf.Tensor]:
        """Draws vectors for each part from the queues of all other parts, those of its class included.

        Args:
            seed: Stateless seed, int [2].
            number: Number N of vectors for each part, drawn with replacement.
            uniform_over: What is equally likely: all "entries", or all "queues" that have one.

        Returns:
            float32 [G, N, L] and bool [G], whether another queue has a vector.
        """
        sizes = self.sizes
        weights = sizes if uniform_over == "entries" else tf.cast(sizes > 0, tf.int32)
        ends = tf.cumsum(weights)
        starts = ends - weights
        others = ends[-1] - weights
        first, second = tf.unstack(tf.random.stateless_uniform([2, self.parts, number], seed))
        # A number among the others: past the part's own it goes on behind them.
        drawn = integer_below(first, others[:, None])
        drawn += tf.where(drawn >= starts[:, None], weights[:, None], 0)
        queue = tf.searchsorted(ends, tf.reshape(drawn, [-1]), side="right")
        queue = tf.minimum(tf.reshape(queue, drawn.shape), self.parts - 1)
        slot = drawn - tf.gather(starts, queue)
        if uniform_over == "queues":
            slot = integer_below(second, tf.gather(sizes, queue))
        return tf.gather(tf.convert_to_tensor(self.vectors), queue * self.capacity + slot), others > 0
