"""Deviations from the goldens: every comparison with the original goes through here, and `make parity` prints them all."""

import dataclasses

import numpy as np

MEASURES = {
    "max": lambda actual, golden: np.max(np.abs(actual - golden)) / max(np.max(np.abs(golden)), 1e-12),
    "L2": lambda actual, golden: np.linalg.norm(actual - golden) / max(np.linalg.norm(golden), 1e-12),
    "1 - cosine": lambda actual, golden: (
        1 - np.vdot(actual, golden) / max(np.linalg.norm(actual) * np.linalg.norm(golden), 1e-12)
    ),
    "different": lambda actual, golden: np.mean(actual != golden),
}


@dataclasses.dataclass
class Row:
    """The largest deviation among the tensors of one quantity of one golden."""

    quantity: str
    golden: str
    tensors: int
    deviation: float
    measure: str
    tolerance: float


class ParityTable:
    """Compares with goldens and remembers how far each quantity was off."""

    def __init__(self):
        self.rows: dict[tuple, Row] = {}

    def check(
        self, golden: str, quantity: str, actual, expected, tolerance: float, measure: str = "max", name: str = ""
    ):
        """Asserts that a tensor is near a golden.

        Args:
            golden: file without suffix.
            quantity: row of the table; tensors of one quantity share it.
            actual: What this package computes.
            expected: The golden, of the same shape.
            tolerance: largest deviation allowed; 0 for equality.
            measure: of `MEASURES`: "max" (largest difference over the largest golden value), "L2" (relative norm of the
                difference), "1 - cosine", or "different" (share of elements that are not equal).
            name: of the tensor, for the message.
        """
        actual, expected = np.asarray(actual), np.asarray(expected)
        assert actual.shape == expected.shape, f"{golden} {name or quantity}: {actual.shape}, golden {expected.shape}"
        if measure != "different":
            actual, expected = actual.astype(np.float64), expected.astype(np.float64)
        deviation = float(MEASURES[measure](actual, expected))
        row = self.rows.setdefault((golden, quantity, measure), Row(quantity, golden, 0, 0.0, measure, tolerance))
        row.tensors += 1
        row.deviation = max(row.deviation, deviation)
        assert deviation <= tolerance, (
            f"{golden} {name or quantity}: {measure} {deviation:.2e}, allowed {tolerance:.0e}"
        )

    def lines(self) -> list[str]:
        """The table in Markdown."""
        head = ["golden", "quantity", "tensors", "measure", "largest deviation", "tolerance"]
        rows = [
            [row.golden, row.quantity, str(row.tensors), row.measure, f"{row.deviation:.1e}", f"{row.tolerance:.0e}"]
            for row in sorted(self.rows.values(), key=lambda row: (row.golden, row.quantity, row.measure))
        ]
        widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
        rule = ["-" * width for width in widths]
        return ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in [head, rule, *rows]]
