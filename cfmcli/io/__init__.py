"""Data files in and out: the only package that accesses them. All points pass as a `Table`."""

from cfmcli.io.anndata import names_in_uns
from cfmcli.io.anndata_output import anndata_writer, creating, write_anndata
from cfmcli.io.annotation import Annotation, Outline, annotate, outline, signed
from cfmcli.io.checks import numbered
from cfmcli.io.describe import describe
from cfmcli.io.extension import Extension, extending
from cfmcli.io.formats import FORMATS, Append, open_table, read_table, suffix, write_table, writing
from cfmcli.io.memory import from_object, is_anndata, is_named, like, outline_of
from cfmcli.io.merging import merge, taken
from cfmcli.io.output import as_json, atomic, blaming_disk, claim, sha256, write_files
from cfmcli.io.selection import Selection, require
from cfmcli.io.spill import Spill, spilling
from cfmcli.io.text import place

__all__ = [
    "FORMATS",
    "Annotation",
    "Append",
    "Extension",
    "Outline",
    "Selection",
    "Spill",
    "anndata_writer",
    "annotate",
    "as_json",
    "atomic",
    "blaming_disk",
    "claim",
    "creating",
    "describe",
    "extending",
    "from_object",
    "is_anndata",
    "is_named",
    "like",
    "merge",
    "names_in_uns",
    "numbered",
    "open_table",
    "outline",
    "outline_of",
    "place",
    "read_table",
    "require",
    "sha256",
    "signed",
    "spilling",
    "suffix",
    "taken",
    "write_anndata",
    "write_files",
    "write_table",
    "writing",
]
