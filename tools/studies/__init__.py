"""The studies of this project: which runs they have, and how they are reported."""
