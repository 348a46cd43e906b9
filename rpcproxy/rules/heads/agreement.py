"""Who gives another answer than the others, where enough agree to say so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence


def odd_ones(answers: Sequence[tuple[str, str, Hashable]], voters: int) -> set[str] | None:
    """The upstreams that disagree. ``answers``: upstream, company, what it said; ``voters``: how
    many could have answered. ``None`` where more than half of them, of two companies at least, do
    not agree (yet): then nobody is odd.
    """
    counts = Counter(said for _, _, said in answers)
    if not counts:
        return None
    said, count = counts.most_common(1)[0]
    companies = {company for _, company, other in answers if other == said}
    if count * 2 <= voters or len(companies) < 2:
        return None
    return {upstream for upstream, _, other in answers if other != said}
