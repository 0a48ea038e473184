"""The workflow's stages: functions that read and write files.

The workflow's scripts and the command `csrd` only call these functions, so that both write the same bytes for
the same inputs, seed and subject.
"""
