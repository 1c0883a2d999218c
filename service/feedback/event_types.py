"""The event types that the service accepts, with their weights and counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from diffcdr.bundle.manifest import Manifest
from diffcdr.errors import InputError
from diffcdr.event_weights import EventWeights
from service.settings import Settings
from service.state.events.kinds import Counter, Domain


@dataclass(frozen=True)
class EventTypes:
    """``counters[type]``: the counter of an experiment that events of this type add to, if any."""

    weights: EventWeights
    counters: Mapping[str, Counter]

    @classmethod
    def of(cls, settings: Settings) -> EventTypes:
        """Raises InputError if ``settings`` name an unknown type as a conversion, or weights are invalid."""
        weights = EventWeights.parse(settings.event_weights, name="DIFFCDR_EVENT_WEIGHTS")
        counters: dict[str, Counter] = {"impression": "impressions", "click": "clicks"}
        for kind in filter(None, (part.strip() for part in settings.conversion_types.split(","))):
            if kind not in weights.types:
                raise InputError(
                    f"DIFFCDR_CONVERSION_TYPES: {kind!r} is not a known event type; known types: "
                    f"{', '.join(weights.types)}; add others in DIFFCDR_EVENT_WEIGHTS"
                )
            if kind in counters:
                raise InputError(f"DIFFCDR_CONVERSION_TYPES: {kind} is always counted separately; name another type")
            counters[kind] = "conversions"
        return cls(weights, counters)

    def likes(self, kind: str, rating: float | None) -> bool:
        """Whether an event counts in lists: it has a rating, or its type has a weight."""
        return rating is not None or self.weights.weights.get(kind, 0.0) > 0

    def worth(self, manifest: Manifest, domain: Domain) -> dict[str, float]:
        """The rating that an event of each type counts as if it has none, on the bundle's scale of ``domain``."""
        scale = manifest.scoring.rating_range
        if domain == "source" and manifest.fold_in is not None and manifest.fold_in.shape is not None:
            scale = manifest.fold_in.shape.rating_range
        return self.weights.ratings(scale)
