"""Mirror a checkout into a folder that everybody may read: `mirror.py SOURCE TARGET`.

Copies what git tracks or would track (every file but the made ones, where git knows nothing), changed files only and
each in one rename, so that a platform running from the mirror never meets half a file. Files that an earlier mirroring
brought and that are gone from the source are removed; what was made inside the mirror stays.
"""

import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path

MANIFEST = ".mirrored"
MADE = {".git", ".venv", ".tools", ".copyhold", ".demo", ".bench", "node_modules", "__pycache__"}


def listed(source: Path) -> list[str]:
    """The checkout's files, relative to it, by git's word or else by looking."""
    git = ["git", "-c", f"safe.directory={source}", "-C", str(source)]
    listing = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        output = subprocess.run([*git, *listing], capture_output=True, check=True).stdout
        names = [os.fsdecode(name) for name in output.split(b"\0") if name]
    except (OSError, subprocess.CalledProcessError):
        names = []
        for folder, folders, files in os.walk(source):
            folders[:] = [name for name in folders if name not in MADE]
            names += [os.path.relpath(os.path.join(folder, name), source) for name in files]  # noqa: PTH118
    return sorted({name for name in names if os.path.lexists(source / name) and Path(name).parts[0] not in MADE})


def same(source: Path, target: Path) -> bool:
    """Whether the target already is what the source is."""
    if source.is_symlink() or target.is_symlink():
        return source.is_symlink() and target.is_symlink() and source.readlink() == target.readlink()
    return (
        target.is_file()
        and bool(source.stat().st_mode & 0o100) == bool(target.stat().st_mode & 0o100)
        and filecmp.cmp(source, target, shallow=False)
    )


def make_folder(folder: Path, target: Path) -> None:
    """Make the folder and those above it up to the target, readable by all, in place of whatever else is there."""
    if folder != target:
        make_folder(folder.parent, target)
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        folder.unlink()
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)


def put(source: Path, target: Path) -> None:
    """Replace the target by the source in one rename."""
    fresh = target.with_name(f".{target.name}.mirroring")
    fresh.unlink(missing_ok=True)
    shutil.copy2(source, fresh, follow_symlinks=False)
    if not source.is_symlink():
        fresh.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    fresh.replace(target)


def remove_stale(target: Path, stale: set[str]) -> None:
    """Remove files the source no longer has, and folders left with nothing but compiled Python."""
    for name in sorted(stale):
        file = target / name
        if file.is_symlink() or file.is_file():
            file.unlink()
        for folder in list(file.parents)[: len(Path(name).parts) - 1]:
            if folder.is_dir() and not [child for child in folder.iterdir() if child.name != "__pycache__"]:
                shutil.rmtree(folder)


def mirror(source: Path, target: Path) -> None:
    """Make the target hold the source's files."""
    names = [name for name in listed(source) if (source / name).is_symlink() or (source / name).is_file()]
    make_folder(target, target)
    manifest = target / MANIFEST
    before = set(manifest.read_text(errors="surrogateescape").split("\0")) if manifest.exists() else set()
    # Written first as the union: a mirroring that is cut short still knows afterwards what it brought.
    manifest.write_text("\0".join(sorted(before | set(names))), errors="surrogateescape")
    remove_stale(target, before - set(names) - {""})
    for name in names:
        if not same(source / name, target / name):
            make_folder((target / name).parent, target)
            put(source / name, target / name)
    manifest.write_text("\0".join(names), errors="surrogateescape")


if __name__ == "__main__":
    mirror(Path(sys.argv[1]), Path(sys.argv[2]))
