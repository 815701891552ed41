"""The role-conditioned baseline: what a seat usually earns in a category, taken from its reward before it is sent.

After SPIRAL (arXiv 2506.24119): self-play on one shared policy without one lets the stronger role's reward drown the
other's. One exponential mean per (role, category), read before it is updated. Games against the start model, and against
past ones, have means of their own: what is usual there is something else.
"""

from medical_team.types import Category, Role

Key = tuple[Role, Category, str]
SELF, START, PAST = "self", "start", "past"
"""Who holds the other seat."""


class Baselines:
    """Exponential means of raw rewards. The first reward of a key is its own baseline."""

    def __init__(self, decay: float = 0.95):
        self.decay = decay
        self._means: dict[Key, float] = {}

    def center(self, role: Role, category: Category, raw: float, other: str = SELF) -> float:
        """The baseline to subtract from `raw`; then learns from `raw`. `other`: SELF, START or PAST."""
        key = (role, category, other)
        baseline = self._means.get(key, raw)
        self._means[key] = self.decay * baseline + (1 - self.decay) * raw
        return baseline
