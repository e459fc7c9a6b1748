"""What a study consists of: its runs, and the tables that they fill. Importing it starts no TensorFlow."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Run:
    """One trained model.

    Attributes:
        name: Folder of the run, such as "pseudoseg/train_1_8/seed_0".
        recipe: Gin file.
        bindings: Gin bindings over the recipe.
        seed: Seed of weights, order and augmentation.
        teacher: Run that labels for this one, if the recipe is of self-training in one round or of masks from boxes.
        from_boxes: Whether the stages of BAP + NAL make it; with a teacher they begin with its masks.
        guessed_labels: Whether it learns from guessed image-level labels, which are made before.
    """

    name: str
    recipe: str
    bindings: tuple[str, ...] = ()
    _: dataclasses.KW_ONLY
    seed: int = 0
    teacher: "Run | None" = None
    from_boxes: bool = False
    guessed_labels: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """Runs in rows and columns; those of one cell differ in the seed.

    Attributes:
        rows: Runs by column by title of the row; a row may lack columns.
        corner: Title above the titles of the rows.
    """

    rows: Mapping[str, Mapping[str, Sequence[Run]]]
    corner: str = "mIoU"

    def __iter__(self) -> Iterator[Run]:
        return (run for row in self.rows.values() for runs in row.values() for run in runs)

    @property
    def columns(self) -> list[str]:
        """The titles of the columns, in the order in which they first occur."""
        return list(dict.fromkeys(column for row in self.rows.values() for column in row))
