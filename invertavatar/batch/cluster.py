"""Workers as Ray actors: on this machine or on a cluster, with whole or fractional cores and GPUs each."""

import logging

from ..errors import InvertAvatarError
from .job import Job, Settings
from .scheduler import AT_A_WORKER, Event


class RayEngine:
    """Actors that Ray places; only jobs and records travel, pictures never enter the object store.

    Args:
        settings: Of the run; their folder must be seen by all machines.
        address: "local" starts Ray on this machine, "auto" joins the cluster that this machine belongs to, or the
            cluster's own address.
        cores: CPU cores that each worker counts for.
        gpus: GPUs that each worker counts for; by default one where the settings' device and the cluster have such.
        total: Cores that a Ray started here has to give; the machine's where it is None.

    Raises:
        InvertAvatarError: Ray is not installed, or there is no cluster at the address.
    """

    def __init__(self, settings: Settings, address: str, cores: float, gpus: float | None, total: int | None):
        try:
            import ray
        except ImportError as error:
            raise InvertAvatarError('--address needs Ray: pip install "invertavatar[cluster]".') from error
        self.ray, self.settings = ray, settings
        here = address == "local"
        environment = {"OMP_NUM_THREADS": str(settings.threads), "OMP_WAIT_POLICY": "passive"}
        try:
            ray.init(
                address=address,
                num_cpus=total if here else None,
                include_dashboard=False if here else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": environment},
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = str(error).strip().split("\n")[0]
            raise InvertAvatarError(f"There is no Ray cluster at {address} ({reason}).") from error
        has = ray.cluster_resources()
        if gpus is None:
            gpus = 1.0 if settings.device == "cuda" or (settings.device == "auto" and has.get("GPU")) else 0.0
        self.room = max(1, int(has.get("GPU", 0) / gpus if gpus else has.get("CPU", 1) / cores))  # workers at a time
        # A lost actor is replaced by the scheduler, which knows what it had and how often that was lost.
        self.kind = ray.remote(num_cpus=cores, num_gpus=gpus, max_restarts=0, max_concurrency=AT_A_WORKER)(Actor)
        self.pending: dict = {}  # what is awaited -> (worker, kind)

    def start(self):
        """See `scheduler.Engine`."""
        worker = self.kind.remote(self.settings)
        self.pending[worker.load.remote()] = worker, "ready"
        return worker

    def submit(self, worker, job: Job) -> None:
        """See `scheduler.Engine`."""
        self.pending[worker.run.remote(job)] = worker, "record"

    def wait(self) -> list[Event]:
        """See `scheduler.Engine`."""
        finished, _ = self.ray.wait(list(self.pending), num_returns=1)
        events = []
        for reference in finished:
            worker, kind = self.pending.pop(reference)
            try:
                events.append(Event(worker, kind, self.ray.get(reference)))
            except (InvertAvatarError, OSError, ValueError) as error:  # a task's errors keep their class
                cause = getattr(error, "cause", error)
                model = self.settings.model or "that is shipped"
                events.append(Event(worker, "refused", f"Cannot load the model {model}: {str(cause).strip()}"))
            except self.ray.exceptions.RayActorError as error:
                self.pending = {ref: of for ref, of in self.pending.items() if of[0] is not worker}
                reason = str(error).strip().split("\n")[0]
                events.append(Event(worker, "lost", reason))
        return events

    def stop(self) -> None:
        """See `scheduler.Engine`."""
        self.ray.shutdown()


class Actor:
    """A worker in a process of Ray's."""

    def __init__(self, settings: Settings):
        import threading

        self.settings, self._runner, self._loading = settings, None, threading.Lock()

    def load(self) -> None:
        """Load the model, unless it has been."""
        from .runner import Runner

        with self._loading:
            if self._runner is None:
                self._runner = Runner(self.settings)

    def run(self, job: Job) -> dict:
        """See `Runner.run`."""
        self.load()
        return self._runner.run(job)
