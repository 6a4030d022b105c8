"""The manifest of an export, and whether a folder is what its manifest says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from control_plane.domain.errors import ConflictError, InvalidError

FORMAT = 1
MANIFEST = "manifest.json"
CHUNK_BYTES = 1 << 20


class NoExportError(InvalidError):
    """There is no export in that folder."""

    code = "no_export"


class ExportDamagedError(ConflictError):
    """The export is not what its manifest says."""

    code = "export_damaged"


@dataclass(frozen=True, kw_only=True)
class File:
    """One table's rows."""

    name: str
    table: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What an export holds. `sha256` is its manifest's, which has the sums of all files."""

    export: str
    tenant: dict[str, Any]
    model: str
    revision: str
    created_at: str
    files: tuple[File, ...]
    left_out: tuple[str, ...]
    sha256: str

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(file.rows for file in self.files)

    @property
    def bytes(self) -> int:
        """Of all files but the manifest."""
        return sum(file.bytes for file in self.files)


def as_text(facts: dict[str, Any], files: tuple[File, ...]) -> str:
    """The manifest of an export with those files."""
    content = {"format": FORMAT, **facts, "files": [asdict(file) for file in files]}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def read(folder: Path) -> Summary:
    """What the manifest says; NoExportError when there is none that this version can read."""
    try:
        text = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise NoExportError(f"there is no export in {folder}: {error.strerror} ({MANIFEST})") from error
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise NoExportError(f"{folder} is an export of format {content['format']}; this version reads {FORMAT}")
        return Summary(
            export=content["export"],
            tenant=dict(content["tenant"]),
            model=content["model"],
            revision=content["revision"],
            created_at=content["created_at"],
            files=tuple(File(**file) for file in content["files"]),
            left_out=tuple(content["left_out"]),
            sha256=hashlib.sha256(text).hexdigest(),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ExportDamagedError(f"{folder / MANIFEST} is damaged: it is no manifest of an export") from error


def verify(folder: Path) -> Summary:
    """Read every file of an export and hold it against the manifest: nothing missing, changed or added.

    NoExportError, or ExportDamagedError that names all that differs.
    """
    summary = read(folder)
    wrong = list(_differences(folder, summary))
    if wrong:
        raise ExportDamagedError(f"{folder} is not what its manifest says: {'; '.join(wrong)}")
    return summary


def _differences(folder: Path, summary: Summary) -> Iterator[str]:
    listed = {file.name for file in summary.files}
    there = {path.name for path in folder.iterdir()}
    yield from (f"{name} is missing" for name in sorted(listed - there))
    yield from (f"{name} is not part of it" for name in sorted(there - listed - {MANIFEST}))
    for file in summary.files:
        if file.name in there:
            yield from _differs(folder / file.name, file)


def _differs(path: Path, file: File) -> Iterator[str]:
    if path.is_symlink() or not path.is_file():
        yield f"{file.name} is no file"
        return
    digest, rows, size = hashlib.sha256(), 0, 0
    with path.open("rb") as content:
        while chunk := content.read(CHUNK_BYTES):
            digest.update(chunk)
            rows += chunk.count(b"\n")
            size += len(chunk)
    if (size, digest.hexdigest()) != (file.bytes, file.sha256):
        yield f"{file.name} has been changed"
    elif rows != file.rows:
        yield f"{file.name} has {rows} rows, not {file.rows}"
