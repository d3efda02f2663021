"""Early end of Ray's `serve run CONFIG` when its application can never start.

The command hands its config to Serve and then sleeps until a signal, whatever becomes of the
application. That is built in a task on the head node, which ends the command that waits there. If
anything is served already, the failed build was an update and nothing is ended, since the command
may own the Ray that serves.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import ray
from ray import serve
from ray.serve._private.common import ReplicaState

logger = logging.getLogger("ray.serve.reward_cluster")

SERVE_RUN = (("serve", "run"), ("ray.serve.scripts", "run"))
"""The program, or `python -m`, and its command."""
TOLD_S = 2.0
"""Seconds for the reason to reach the command's terminal through Ray's log."""


def end_waiting_command(reason: str) -> None:
    """Called in the task that builds the application: show `reason` and end `serve run`, if it is
    the only one on this node and nothing is served."""
    if not ray.is_initialized():  # the context would start a Ray, or look for one that is gone
        return
    context: Any = ray.get_runtime_context()
    if context.worker.mode != ray.WORKER_MODE or _anything_serves():
        return
    commands = list(_waiting_commands())
    if len(commands) > 1:  # whose application this one is cannot be told
        return
    for command in commands:
        logger.error("%s", reason)
        time.sleep(TOLD_S)
        # Not SIGINT, at which it would shut down Serve on a Ray that others started.
        with contextlib.suppress(psutil.Error):
            command.send_signal(signal.SIGTERM)


def is_serve_run(command: Sequence[str]) -> bool:
    """Whether a process with these arguments is `serve run`."""
    names = [Path(part).name for part in command[:4]]
    return any(pair in pairwise(names) for pair in SERVE_RUN)


def _anything_serves() -> bool:
    apps = serve.status().applications.values()
    found = (deployment for app in apps for deployment in app.deployments.values())
    return any(each.replica_states.get(ReplicaState.RUNNING) for each in found)


def _waiting_commands() -> Iterator[psutil.Process]:
    worker: Any = ray._private.worker.global_worker
    here: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    jobs = worker.gcs_client.get_all_job_info(
        skip_submission_job_info_field=True, skip_is_running_tasks_field=True
    )
    for job in jobs.values():
        if job.is_dead or job.driver_ip_address != here:
            continue
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(job.driver_pid)
            if is_serve_run(process.cmdline()):
                yield process
