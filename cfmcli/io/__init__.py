"""Data files in and out: the only room that touches them. Everything travels as a `Table`."""

from cfmcli.io.anndata import write_anndata
from cfmcli.io.annotation import Annotation, annotate
from cfmcli.io.describe import describe
from cfmcli.io.formats import FORMATS, read_table, write_table
from cfmcli.io.memory import from_object, is_anndata, is_named, like
from cfmcli.io.output import atomic, blaming_disk, claim, sha256, write_json, write_text
from cfmcli.io.selection import Selection, require

__all__ = [
    "FORMATS",
    "Annotation",
    "Selection",
    "annotate",
    "atomic",
    "blaming_disk",
    "claim",
    "describe",
    "from_object",
    "is_anndata",
    "is_named",
    "like",
    "read_table",
    "require",
    "sha256",
    "write_anndata",
    "write_json",
    "write_table",
    "write_text",
]
