"""What /metrics says, read as Prometheus would."""

import re

SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def samples(text):
    """(name, {label: value}, number) of each sample."""
    for line in text.splitlines():
        if (found := SAMPLE.match(line)) and not line.startswith("#"):
            yield found[1], dict(LABEL.findall(found[2] or "")), float(found[3])


class Histogram:
    """Cumulative counts by bound. The difference of two is of what came between them."""

    def __init__(self, counts):
        self.counts = counts  # {bound: how many are at most so much}

    @classmethod
    def read(cls, text, name):
        return cls({float(labels["le"]): int(n) for one, labels, n in samples(text) if one == f"{name}_bucket"})

    def __sub__(self, before):
        return Histogram({bound: count - before.counts.get(bound, 0) for bound, count in self.counts.items()})

    def __add__(self, other):
        bounds = self.counts.keys() | other.counts.keys()
        return Histogram({bound: self.counts.get(bound, 0) + other.counts.get(bound, 0) for bound in bounds})

    @property
    def count(self):
        return max(self.counts.values(), default=0)

    def quantile(self, part):
        """As histogram_quantile(): on a line within the bucket; what is above all bounds counts as the last one."""
        wanted, bound_before, count_before = part * self.count, 0.0, 0
        for bound, count in sorted(self.counts.items()):
            if count >= wanted and count > count_before:
                if bound == float("inf"):
                    return bound_before
                return bound_before + (bound - bound_before) * (wanted - count_before) / (count - count_before)
            bound_before, count_before = bound, count
        return bound_before
