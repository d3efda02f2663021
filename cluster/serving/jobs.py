"""Ray jobs: which ones have ended, and actors that end with their job.

A Ray actor ends either with the process that created it or never. A client actor belongs to a whole
job: whichever worker created it, the others keep using it, and when the job has ended nobody does.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import ray

logger = logging.getLogger(__name__)

LOOK_S = 3.0
"""Seconds between two checks of the job."""


def finished_jobs() -> set[str]:
    """Hex ids of the jobs of this Ray cluster that have ended. Asks the GCS; needs no dashboard."""
    worker: Any = ray._private.worker.global_worker
    jobs = worker.gcs_client.get_all_job_info(
        skip_submission_job_info_field=True, skip_is_running_tasks_field=True
    )
    return {job_id.hex() for job_id, job in jobs.items() if job.is_dead}


def current_job() -> str:
    """Hex id of the Ray job that this process works for."""
    job: str = ray.get_runtime_context().get_job_id()
    return job


def end_with_job(job: str) -> None:
    """Call it in an actor's constructor: kills the actor for good once `job` has ended."""
    me: Any = ray.get_runtime_context().current_actor
    threading.Thread(target=_watch, args=(me, job), name="job-watch", daemon=True).start()


def _watch(me: Any, job: str) -> None:
    while True:
        time.sleep(LOOK_S)
        try:
            ended = job in finished_jobs()
        except Exception:  # the GCS may be restarting; whatever it raises, the next check decides
            continue
        if ended:
            logger.info("job %s has ended, and so does its client", job)
            ray.kill(me, no_restart=True)
