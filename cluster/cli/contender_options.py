"""Contender options of `evaluate`: models of an own engine, Serve applications, services by URL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from cluster.cli.engine_options import engine_config
from cluster.cli.scoring_backend import refuse_beside_service
from cluster.evaluation import contenders
from cluster.evaluation.contenders import Contender

F = TypeVar("F", bound=Callable[..., Any])


def contender_options(command: F) -> F:
    """Add whom to evaluate; the command takes models, apps, urls and api_key, for
    `asked_contenders`."""
    for decorate in reversed(
        (
            click.option(
                "--model",
                "models",
                multiple=True,
                metavar="MODEL[@REVISION]",
                help="Model to evaluate: built in, a local folder, or a hub id; repeat. [tiny]",
            ),
            click.option(
                "--app", "apps", multiple=True, help="Serve application to evaluate; repeat."
            ),
            click.option(
                "--url", "urls", multiple=True, help="Reward service to evaluate; repeat."
            ),
            click.option(
                "--api-key",
                envvar="REWARD_API_KEY",
                help="Key of the services. [$REWARD_API_KEY]",
            ),
        )
    ):
        command = decorate(command)
    return command


def asked_contenders(
    models: tuple[str, ...],
    apps: tuple[str, ...],
    urls: tuple[str, ...],
    api_key: str | None,
    **engine_settings: Any,
) -> list[Contender]:
    """The contenders that the options name; `tiny` if they name none. Raises UsageError for engine
    settings that no contender would use."""
    context = click.get_current_context()
    given = [
        name
        for name in engine_settings
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    refuse_beside_service(not models and (apps or urls), given)
    own = models or (() if apps or urls else ("tiny",))
    return [
        *(
            contenders.engine(engine_config(**contenders.split_revision(model), **engine_settings))
            for model in own
        ),
        *map(contenders.application, apps),
        *(contenders.service(url, api_key) for url in urls),
    ]
