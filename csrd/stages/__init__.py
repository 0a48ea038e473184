"""The stages: one function each, paths in and files out.

The workflow's scripts and the command `csrd` call them and do nothing else. For the same inputs, seed and
subject both therefore write the same bytes.
"""
