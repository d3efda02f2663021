"""Client connection: `connect` for rollout workers, `RewardService` for scripts.

    client = connect()                              # finds or creates this job's actor
    ref = client.score.remote(conversations)        # see `client_actor`
    scores = RewardService().score(conversations)   # the same, waited for

A client belongs to one app; its name in Ray says which.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import ray
from ray.exceptions import ActorDiedError, GetTimeoutError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.errors import NotReady, RewardError
from cluster.serving.batching.retry import PROCESS_DIED, pause_s, unwrap_ray_error
from cluster.serving.client import named_actor
from cluster.serving.client.actor import CONTROL, Item, RewardClient
from cluster.serving.client.patience import all_late, is_past, late, patience_s, pause_before
from cluster.serving.deadline import Deadline
from cluster.serving.jobs import current_job
from cluster.serving.names import APP, NAMESPACE
from cluster.serving.ray_session import join, require_app
from cluster.serving.scoring.transformed import Transforms
from cluster.types import Conversation, Score

if TYPE_CHECKING:
    from ray.actor import ActorHandle

MAX_CALLS = 5000
"""Maximum pending calls of one handle; beyond it `.remote()` raises PendingCallsLimitExceeded. A
waiting call takes about 55 KiB of the actor's memory, nearly all of it Ray's."""
MAX_DEATHS = 5
"""After this many calls in a row that find the actor dead, it is not being restarted."""
NOTICE_S = 5.0
"""By then a process has heard that an actor has ended; mostly within milliseconds."""


def connect(
    app: str = APP,
    *,
    name: str | None = None,
    per_node: bool = False,
    detached: bool = False,
    wait: bool = False,
) -> ActorHandle[RewardClient]:
    """Find or create a client actor of `app`, in namespace `NAMESPACE`, from any process of a job.

    A process that has joined no Ray joins the one that serves, see `ray_session`. Raises NotReady
    if there is no such Ray, or no such app in it.
    wait: the app may be deployed later; calls wait for it.
    name: None is the actor of this Ray job; any job that gives a name gets the actor of that name.
    per_node: an actor for the caller's node, so that no actor is a single bottleneck.
    detached: lives until `disconnect`; otherwise it ends with the job that created it, a few
        seconds later.
    """
    join(app=app)
    if not wait:
        require_app(app)
    job = current_job()
    options: dict[str, Any] = {"name": _actor_name(app, name, per_node)}
    if per_node:
        node = ray.get_runtime_context().get_node_id()
        where = NodeAffinitySchedulingStrategy(node_id=node, soft=True)
        options["scheduling_strategy"] = where
    # Ray's types do not know concurrency groups.
    in_groups: Any = ray.remote(concurrency_groups={CONTROL: 1})  # type: ignore[call-overload]
    actor = in_groups(RewardClient).options(
        namespace=NAMESPACE,
        get_if_exists=True,
        lifetime="detached",  # of the worker that made it; its job is watched by the actor itself
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=-1,
        max_concurrency=MAX_CALLS,
        max_pending_calls=MAX_CALLS,
        **options,
    )
    bound = "" if name is not None and detached else job
    return cast("ActorHandle[RewardClient]", actor.remote(app, bound, not detached))


def disconnect(app: str = APP, *, name: str | None = None, per_node: bool = False) -> bool:
    """End the actor that `connect` with the same arguments finds; False if there is none.

    Its unanswered calls end with ActorDiedError. A `connect` that follows creates a new one.
    """
    full_name = _actor_name(app, name, per_node)
    actor = named_actor.find(full_name)
    if actor is None:
        return False
    ray.kill(actor, no_restart=True)
    named_actor.wait_until_unknown(full_name, actor._actor_id.hex(), NOTICE_S)
    return True


def client_actors(app: str) -> list[ActorHandle[RewardClient]]:
    """The client actors of `app` in this Ray, of every job."""
    own = tuple(f"{app}{sign}" for sign in "/@")
    names = [
        actor["name"]
        for actor in ray.util.list_named_actors(all_namespaces=True)
        if actor["namespace"] == NAMESPACE and actor["name"].startswith(own)
    ]
    found = [named_actor.find(name) for name in names]
    return [actor for actor in found if actor is not None]  # others have ended meanwhile


def _actor_name(app: str, name: str | None, per_node: bool) -> str:
    own = f"{app}/{name}" if name is not None else f"{app}@{current_job()}"
    return f"{own}@{ray.get_runtime_context().get_node_id()}" if per_node else own


class RewardService:
    """Synchronous client for scripts, without Ray code.

    RewardService().score(conversations) -> list[Score | RewardError]
    """

    def __init__(self, app: str = APP, *, client: ActorHandle[RewardClient] | None = None) -> None:
        """client: a client actor other than this job's; once it is gone, calls raise NotReady."""
        self._app = app if client is None else None
        self.client: Any = client if client is not None else connect(app)

    def score(
        self,
        conversations: Sequence[Conversation],
        priority: int = 0,
        deadline_s: float | None = None,
        strict: bool = False,
        transforms: Transforms = (),
    ) -> list[Item]:
        """As `RewardClient.score`, waiting for the answer; an interrupt cancels the call."""
        deadline = Deadline.after(deadline_s)
        try:
            return self._score(list(conversations), priority, deadline, strict, transforms)
        except ActorDiedError as error:
            self.reconnect(error, deadline)
            return self._score(list(conversations), priority, deadline, strict, transforms)

    def submit(
        self,
        items: list[Conversation],
        priority: int,
        deadline: Deadline | None,
        strict: bool,
        transforms: Transforms,
    ) -> Any:
        """The call as an ObjectRef of its answer, at once."""
        return self.client.score.remote(
            items, priority, None, strict, deadline, current_job(), transforms
        )

    def _score(
        self,
        items: list[Conversation],
        priority: int,
        deadline: Deadline | None,
        strict: bool,
        transforms: Transforms,
    ) -> list[Item]:
        ref = self.submit(items, priority, deadline, strict, transforms)
        try:
            answer: list[Item] = ray.get(ref, timeout=patience_s(deadline))
        except RewardError as error:
            raise unwrap_ray_error(error) from None
        except GetTimeoutError:
            ray.cancel(ref)
            return all_late(len(items), strict)
        except BaseException:
            ray.cancel(ref)
            raise
        return answer

    def stream(
        self,
        conversations: Sequence[Conversation],
        priority: int = 0,
        deadline_s: float | None = None,
    ) -> Iterator[tuple[int, Item]]:
        """(index, result) as each completes, each exactly once, even if processes die meanwhile.

        Ends at the deadline; a stream that is closed or dropped early cancels what is left.
        """
        deadline = Deadline.after(deadline_s)
        missing = dict(enumerate(conversations))
        deaths = attempt = 0
        while missing:
            before, index = len(missing), list(missing)
            why: BaseException | None = None
            try:
                for i, item in self._arrivals(list(missing.values()), priority, deadline):
                    del missing[index[i]]
                    yield index[i], item if isinstance(item, Score) else item.at(index[i])
            except RewardError as error:
                raise unwrap_ray_error(error) from None
            except PROCESS_DIED as error:
                why = error
            if not missing:
                return
            if is_past(deadline):
                yield from ((i, late(i)) for i in missing)
                return
            alive = len(missing) < before or not isinstance(why, ActorDiedError)
            deaths = 0 if alive else deaths + 1
            attempt = 0 if len(missing) < before else attempt + 1
            if why is not None and deaths > MAX_DEATHS:
                self.reconnect(why, deadline)
            time.sleep(pause_before(deadline, pause_s(why or NotReady("ended early"), attempt)))

    def _arrivals(
        self, items: list[Conversation], priority: int, deadline: Deadline | None
    ) -> Iterator[tuple[int, Item]]:
        """One streaming call, cancelled when its reader leaves; ends early at the deadline."""
        call = self.client.score_stream.options(num_returns="streaming", max_task_retries=0)
        refs = call.remote(items, priority, None, deadline, current_job())
        try:
            while True:
                if deadline is not None:
                    ready, _ = ray.wait([refs], timeout=patience_s(deadline))
                    if not ready:
                        return
                ref = next(refs, None)
                if ref is None:
                    return
                yield ray.get(ref)
        finally:
            ray.cancel(refs)

    def reconnect(self, error: BaseException, deadline: Deadline | None = None) -> None:
        """Connect to a new actor, as the one before died with `error`. Raises NotReady if the
        caller chose that actor."""
        if self._app is None:
            raise NotReady("the client actor is gone; connect() makes another") from error
        if isinstance(error, ActorDiedError) and error.actor_id:
            name = _actor_name(self._app, None, False)
            named_actor.wait_until_unknown(name, error.actor_id, pause_before(deadline, NOTICE_S))
        self.client = connect(self._app)


__all__ = ["RewardClient", "RewardService", "connect", "disconnect"]
