"""The likeliest tokens at every place of a reply, kept while it is made."""


class Likeliest:
    """Looks on while a reply is made, and remembers the likeliest tokens of every place."""

    def __init__(self, top: int):
        self._top, self._seen = top, []

    def __call__(self, ids, scores):
        self._seen.append(scores.float().log_softmax(-1).topk(min(self._top, scores.shape[-1])))
        return scores

    def places(self) -> list[list[list[tuple[int, float]]]]:
        """For every place and row: token ids with their log probabilities, likeliest first."""
        return [
            [list(zip(*pair, strict=True)) for pair in zip(one.indices.tolist(), one.values.tolist(), strict=True)]
            for one in self._seen
        ]
