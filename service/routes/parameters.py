"""Parameters that several routes share."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote

from fastapi import Path
from pydantic import BeforeValidator

from diffcdr.bundle.ids import MAX_ID_BYTES
from service.schemas.examples import BOOK, USER

UserInAddress = Annotated[str, Path(min_length=1, max_length=MAX_ID_BYTES, examples=[USER]), BeforeValidator(unquote)]
"""A user id in the path, percent-encoded there; the edge hands these addresses on undecoded."""

ItemInAddress = Annotated[str, Path(min_length=1, max_length=MAX_ID_BYTES, examples=[BOOK]), BeforeValidator(unquote)]
"""An item id in the path, likewise."""
