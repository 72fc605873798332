"""What the command line's tests share: a run of `cfm` in this process, and stubs for workflows."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from cfmcli.cli import app
from cfmcli.requests import Listener, Outcome

COMMANDS: dict[str, Any] = {name: app.verb(name) for name in app.VERBS}

FIT = ("fit", "a.csv", "b.csv", "-o", "run")
SAMPLE = ("sample", "run", "-o", "out.csv")
TRANSPORT = ("transport", "run", "in.csv", "-o", "out.csv")
LIKELIHOOD = ("likelihood", "run", "in.csv", "-o", "out.csv")
INTERPOLATE = ("interpolate", "run", "-o", "out.csv", "--frames", "3")
FATE = ("fate", "run", "in.csv", "--label-key", "arm", "-o", "out.csv")
GENES = ("genes", "run", "-o", "out.csv")
EVALUATE = ("evaluate", "run")
PLOT = ("plot", "run")
REPORT = ("report", "run")
WRITERS = (FIT, SAMPLE, TRANSPORT, LIKELIHOOD, INTERPOLATE, FATE, GENES, EVALUATE, PLOT, REPORT)


@dataclass(frozen=True)
class Ran:
    """How a run of `cfm` ended."""

    code: int
    out: str
    err: str


Cfm = Callable[..., Ran]


def nothing(listen: Listener) -> Outcome:
    """A workflow that does nothing."""
    return Outcome()


@dataclass
class Stub:
    """Workflows that record what they are asked and then behave as a test says."""

    behave: Callable[[Listener], Outcome] = nothing
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def __call__(self, *asked: Any) -> Outcome:
        """Any verb of any workflow."""
        self.asked.append(asked)
        return self.behave(asked[-1])

    def modules(self) -> dict[str, Any]:
        """The modules that this stub stands for."""
        verbs = [line[0] for line in WRITERS] + ["merge"]
        modules = {f"cfmcli.workflows.{v}": SimpleNamespace(**{v: self}) for v in verbs}
        return modules | {"cfmcli.workflows.leaveout": SimpleNamespace(leave_out=self)}
