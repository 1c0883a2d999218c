"""What request and response bodies share. Unknown fields are refused and numbers must be numbers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from diffcdr.bundle.ids import MAX_ID_BYTES
from service.schemas.examples import MODEL_ID


def _whole(value: Any) -> Any:
    """JSON knows one kind of number: 20.0 is the integer 20."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""Comes last in an annotation: bounds before it stay bounds of the integer, and so stand in the document."""
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_BYTES)]


def _text(value: Any) -> Any:
    """A whole number as its text; beyond 2**53 a float is not sure to be the number that was meant."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        value = int(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


SentId = Annotated[Id, BeforeValidator(_text, json_schema_input_type=Id | int)]
"""An id in a body: a number is taken as its text, as rating files of numbers have it."""
Timeout = Annotated[
    int | None, Field(ge=1, le=60_000, description="After this time the answer is 504.", examples=[500]), WHOLE
]
ModelName = Annotated[
    Id | None, Field(description="A bundle id of /v1/models; default: the active bundle.", examples=[MODEL_ID])
]


class Body(BaseModel):
    """What every body keeps to."""

    # Strict: "20" is not a number and 1 is not true. NaN and infinities are not JSON.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=())
