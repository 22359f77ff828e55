"""Characters that searches put into texts."""

from __future__ import annotations

import string

PRINTABLE = string.digits + string.ascii_letters + string.punctuation
"""The 94 characters that NMTSloth inserts."""
LOOKALIKES = dict(
    zip(
        "acdeghijlopqsuvwxy",
        "\u0430\u0441\u0501\u0435\u0261\u04bb\u0456\u0458\u04cf\u043e\u0440\u051b\u0455\u03c5\u0475\u051d\u0445\u0443",
        strict=True,
    )
)
"""Letters of other scripts that look like Latin ones: mostly Cyrillic."""
RARE = "äéñøßłžλωжшकกあ中한…—€²½ﬁ😀"
"""Characters of two to four bytes in UTF-8, from several scripts."""
ALPHABET = f" {PRINTABLE}{''.join(LOOKALIKES.values())}{RARE}"
"""What random edits and evolution draw from. A model that has seen few characters beyond ASCII, if any, is led farthest
astray by those: each is one edit, and several bytes or tokens."""
