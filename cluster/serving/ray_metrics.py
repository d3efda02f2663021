"""Ray metrics: the sink through which a process's metrics reach Ray's Prometheus endpoint."""

from __future__ import annotations

from typing import Any

from ray.serve import metrics

from cluster.serving.metrics import Metric


class RaySink:
    """Ray's metrics, each made at its first value.

    Ray forgets a gauge that is not set again for some 20 s; `repeat_gauges` is called at every
    health check.
    """

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._gauges: dict[tuple[str, ...], tuple[Metric, float, dict[str, str]]] = {}

    def record(self, metric: Metric, value: float, tags: dict[str, str]) -> None:
        made = self._made.get(metric.name)
        if made is None:
            made = self._made[metric.name] = _make(metric)
        made(value, tags=tags)
        if metric.kind == "gauge":
            self._gauges[metric.name, *tags.values()] = metric, value, tags

    def repeat_gauges(self) -> None:
        """Set every gauge to its last value again."""
        for last in list(self._gauges.values()):
            self.record(*last)


def _make(metric: Metric) -> Any:
    about: dict[str, Any] = {"description": metric.description, "tag_keys": metric.tags}
    if metric.kind == "counter":
        return metrics.Counter(metric.name, **about).inc
    if metric.kind == "gauge":
        return metrics.Gauge(metric.name, **about).set
    return metrics.Histogram(metric.name, boundaries=list(metric.buckets), **about).observe
