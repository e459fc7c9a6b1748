"""What label tools export, read as it is: one module for each kind of tree."""
