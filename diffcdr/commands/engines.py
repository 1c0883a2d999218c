"""The engine of a command: this process, or one that another package provides.

An engine's part in a command is found through the entry-point group ``diffcdr.engines``, named ``ENGINE-COMMAND``; the
name in brackets is the extra that brings what it imports. So the runtime knows none of them, and imports one when it is
used.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Annotated, Any, Literal

import typer

from diffcdr.errors import MissingExtraError
from diffcdr.installation import check_installation

ENGINE_GROUP = "diffcdr.engines"

Engine = Literal["local", "spark"]

EngineOption = Annotated[Engine, typer.Option(help="Where the work is done: in this process, or by Apache Spark.")]
MasterOption = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Spark's master.", show_default="Spark's own setting, else all cores here"),
]
SparkConfOption = Annotated[
    list[str] | None,
    typer.Option("--spark-conf", metavar="KEY=VALUE", help="One setting of Spark, such as spark.executor.memory=4g."),
]


def load_engine(engine: str, command: str) -> Any:
    """The implementation of ``command`` by ``engine``.

    Raises:
        InputError: what is installed is not what the engine needs.
        MissingExtraError: the engine's packages are not installed.
    """
    for entry in entry_points(group=ENGINE_GROUP, name=f"{engine}-{command}"):
        check_installation(entry.module, entry.extras)
        try:
            return entry.load()
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] in {"diffcdr", entry.module.partition(".")[0]}:
                raise  # a defect of ours
            raise MissingExtraError(f"--engine {engine}", extra=engine) from error
    raise MissingExtraError(f"--engine {engine}", extra=engine)
