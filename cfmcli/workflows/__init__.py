"""Workflows: the implementation of each command, from files to files. The torch boundary."""
