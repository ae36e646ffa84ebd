"""Names of folders for figures: what is called differently never shares one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256

LONGEST = 80
DEVICE = re.compile(r"con|prn|aux|nul|(com|lpt)\d")  # no folder on Windows
MARKED = re.compile(r".*-[0-9a-f]{8}")


def slugs(titles: Sequence[str], identities: Sequence[str]) -> list[str]:
    """A folder's name for each title: its letters and digits, and a mark where they do not do.

    The mark is made of what stands behind the title. A name has one if others have its letters, if
    they are not all of the title, or if the name would be none or look as if it had one.
    """
    names = [re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") for title in titles]
    counts = Counter(names)
    return [
        name
        if counts[name] == 1 and title.isascii() and _is_fit(name)
        else f"{name[:LONGEST]}-{sha256(identity.encode()).hexdigest()[:8]}".strip("-")
        for title, name, identity in zip(titles, names, identities, strict=True)
    ]


def _is_fit(name: str) -> bool:
    return 0 < len(name) <= LONGEST and not DEVICE.fullmatch(name) and not MARKED.fullmatch(name)
