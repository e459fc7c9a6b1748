"""Training methods, one file each; all behind the interface of `wss.methods.base.Method`."""
