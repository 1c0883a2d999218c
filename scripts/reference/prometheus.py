"""docs/reference/prometheus.md: every metric of ``/metrics``, from the registry."""

from __future__ import annotations

from prometheus_client.metrics import MetricWrapperBase

from scripts.reference.markdown import table
from service.metrics import BUNDLE_LABELS, Bundles, Metrics

PAGE = """# Prometheus metrics

Made from the code by `make reference`; a test compares it. `GET /metrics` shows them, summed over all workers.
Which to look at when: [what to watch](../how-to/operations.md#what-to-watch). Alerts: `deploy/prometheus/alerts.yml`.

"""


def page() -> str:
    """The whole page."""
    metrics = Metrics()
    wrappers = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
    rows: list[tuple[str, str, tuple[str, ...], str]] = [
        (w._name, str(w._type), tuple(w._labelnames), w._documentation) for w in wrappers
    ]
    rows += [(family.name, str(family.type), BUNDLE_LABELS, family.documentation) for family in Bundles().collect()]
    return PAGE + table(
        ("metric", "type", "labels", "what it counts"),
        (
            (f"`{name}{'_total' if kind == 'counter' else ''}`", kind, ", ".join(f"`{one}`" for one in labels), text)
            for name, kind, labels, text in sorted(rows)
        ),
    )
