"""Training of any network on pairs of volumes: patches, the loop, averages of weights, checkpoints.

Needs torch and numpy only. A method provides its network and its loss (see `csrd.train.loop.Task`).
"""
