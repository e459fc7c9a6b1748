"""Pure functions of tensors: losses, metrics, resizing."""
