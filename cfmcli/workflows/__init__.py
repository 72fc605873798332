"""Workflows: what each verb does, from files to files. The torch boundary."""
