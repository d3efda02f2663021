"""What every training run leaves in its folder: manifest, checkpoints, step log, trackers."""
