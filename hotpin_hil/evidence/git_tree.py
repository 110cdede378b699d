"""Reads the state of a git checkout: commit, branch, tag, and a hash of the uncommitted changes."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from hotpin_hil.evidence.provenance import Tree

DIRTY_DIGITS = 12
"""Digits of the hash that are kept, as in firmware/components/telemetry/build_commit.cmake."""

GIT_TIMEOUT_S = 20.0

_DIFF = (
    *(
        "diff",
        "HEAD",
        "--binary",
        "--full-index",
        "--no-color",
        "--no-ext-diff",
        "--no-textconv",
        "--no-renames",
    ),
    *("--unified=3", "--src-prefix=a/", "--dst-prefix=b/"),
)

_REF_NAMES = ("GITHUB_REF_NAME", "CI_COMMIT_REF_NAME", "BRANCH_NAME")
"""Variables with the name of the branch, in GitHub Actions, GitLab and Jenkins: their checkouts have no branch."""


def read_tree(
    folder: Path, paths: Sequence[str] = (".",), environment: Mapping[str, str] = os.environ
) -> Tree:
    """Read the state of a checkout. Never raises: if the state is unknown, `Tree.unknown` gives the reason.

    Args:
        folder: a folder of the checkout.
        paths: the relevant files and folders below it.
        environment: variables of the CI system.
    """
    try:
        if not _git(folder, "ls-files", "--", *paths):
            return Tree(unknown=f"{folder} is not in git")  # a copy in an ignored folder, or an installation
        new_files = _git(folder, "ls-files", "-z", "--others", "--exclude-standard", "--", *paths)
        return Tree(
            commit=_text(folder, "rev-parse", "--verify", "HEAD"),
            branch=_text(folder, "branch", "--show-current")
            or next((environment[name] for name in _REF_NAMES if environment.get(name)), ""),
            tag=_text(folder, "tag", "--points-at", "HEAD").replace("\n", ", "),
            dirty=_hash_of_changes(
                folder, _git(folder, *_DIFF, "--", *paths), new_files.decode("utf-8", "surrogateescape")
            ),
        )
    except FileNotFoundError:
        return Tree(unknown="git is not installed")
    except OSError as error:
        return Tree(unknown=str(error))
    except subprocess.TimeoutExpired:
        return Tree(unknown=f"git took more than {GIT_TIMEOUT_S:g} s in {folder}")
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        return Tree(unknown=lines[0] if lines else f"git exited with status {error.returncode}")


def _hash_of_changes(folder: Path, diff: bytes, new_files: str) -> str:
    """First digits of a SHA-256 over the diff's hash and the name and hash of each new file; empty without changes.

    build_commit.cmake computes the same for the firmware's folder.
    """
    if not diff and not new_files:
        return ""
    changes = [hashlib.sha256(diff).hexdigest()]
    for name in filter(None, new_files.split("\0")):
        path = folder / name
        changes += [name, hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""]
    return hashlib.sha256("\n".join(changes).encode("utf-8", "surrogateescape")).hexdigest()[:DIRTY_DIGITS]


def _text(folder: Path, *arguments: str) -> str:
    return _git(folder, *arguments).decode(errors="replace").strip()


def _git(folder: Path, *arguments: str) -> bytes:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, check=True, timeout=GIT_TIMEOUT_S).stdout
