"""Evaluation of reward models by the public suites, side by side.

Suites say how a row becomes chats and what their rewards are worth (`suites`); everything else is
shared: `dataset` reads rows, `scoring` turns them into rewards, `results` keeps them, `bootstrap`
and `style` look at them, `report` and `plot` show them, and `run.evaluate` is the whole use-case.
"""

from cluster.evaluation.contenders import Contender, application, engine, service
from cluster.evaluation.run import Evaluation, ModelResult, evaluate

__all__ = [
    "Contender",
    "Evaluation",
    "ModelResult",
    "application",
    "engine",
    "evaluate",
    "service",
]
