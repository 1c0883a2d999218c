"""The promise about opt-outs as a machine that tries to break it, over real services and every fault there is here.

After an acknowledged opt-out or erasure no answer is personalised, on any path, whatever fails. Run it for long with

    python -m tests.attack.promise --minutes 30
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.attack.promise_machine import Promise, done
from tests.attack.promise_stores import RedisPromise, SqlitePromise


def machine(store: type[Promise], *, workers: int = 1, copies: int = 1) -> type[Promise]:
    """A machine of so many processes."""
    return type(f"{store.__name__}{workers}x{copies}", (store,), {"workers": workers, "copies": copies})


MACHINES = {
    "sqlite, one process": machine(SqlitePromise),
    "sqlite, two workers": machine(SqlitePromise, workers=2),
    "sqlite, two replicas": machine(SqlitePromise, copies=2),
    "redis, one process": machine(RedisPromise),
    "redis, two workers": machine(RedisPromise, workers=2),
    "redis, two replicas": machine(RedisPromise, copies=2),
}


def check(kind: type[Promise], *, examples: int, steps: int) -> None:
    """Let ``kind`` try so often. Raises AssertionError with what it did, once the promise is broken."""
    tried = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(kind, settings=tried)


def main() -> None:
    """For so many minutes, one kind after another; what was done by each, after every round."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30.0)
    ends = time.monotonic() + 60 * parser.parse_args().minutes
    of_kind: dict[str, Counter[str]] = {name: Counter() for name in MACHINES}
    while time.monotonic() < ends:
        for name, kind in MACHINES.items():
            if time.monotonic() < ends:
                done.clear()
                check(kind, examples=3, steps=40)
                of_kind[name].update(done)
                print(f"{name}: {dict(sorted(of_kind[name].items()))}", flush=True)
    print(f"in all: {dict(sorted(sum(of_kind.values(), Counter()).items()))}")


if __name__ == "__main__":
    main()
