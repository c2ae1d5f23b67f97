"""Workers of Ray Data: on this machine or on a cluster, with whole or fractional cores and GPUs each.

Rows become a dataset, a pool of actors with a model each maps it, and records are streamed back as they are done. What
travels is rows and records; pictures never enter the object store. Ray Data holds rows back until an actor has room,
replaces lost actors and gives what was with them to those that take their place, for ever: `Tries` sets a limit.
"""

import logging
import math
import os
import pickle
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

from ..errors import InvertAvatarError
from .job import Job, Settings
from .scheduler import AT_A_WORKER, FALSE_STARTS, TRIES, given_up, lost_as_they_started

if TYPE_CHECKING:
    from ray.actor import ActorHandle

DATASET = 100_000  # jobs: Ray Data keeps 4 KB of statistics for each until their dataset has come to its end
TOGETHER = 1000  # jobs in a block of the dataset; they share what is alike in them
QUIET = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # else each run begins with a warning of how Ray Data starts its own actors
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # what its daemons print of lost workers, who are no errors here
}


def on_ray(
    jobs: Sequence[Job],
    settings: Settings,
    address: str,
    workers: int | None = None,
    cores: float = 1.0,
    gpus: float | None = None,
) -> Iterator[dict]:
    """What became of each job, as they are done; one record for each.

    Args:
        jobs: One at least.
        settings: Of the run; their folder must be seen by all machines.
        address: "local" starts Ray on this machine, "auto" joins the cluster that this machine belongs to, or the
            cluster's own address.
        workers: As many at most; by default as there is room for.
        cores: CPU cores that each worker counts for.
        gpus: GPUs that each worker counts for; by default one where the settings' device and the cluster have such.

    Raises:
        InvertAvatarError: Ray is not installed, there is no cluster at the address or no room in it, or workers cannot
            load the model.
    """
    ray = join(address, None if workers is None else math.ceil(workers * cores))
    try:
        has = ray.cluster_resources()
        if gpus is None:
            wanted = settings.device == "cuda" or (settings.device == "auto" and has.get("GPU", 0) > 0)
            gpus = 1.0 if wanted else 0.0
        if workers is None or address == "local":
            workers = min(workers or len(jobs), room(has, address, cores, gpus))
        tries = ray.remote(num_cpus=0)(Tries).remote()
        threads = {"OMP_NUM_THREADS": str(settings.threads), "OMP_WAIT_POLICY": "passive"}
        each = {"num_cpus": cores, "num_gpus": gpus, "runtime_env": {"env_vars": threads}}
        for k in range(0, len(jobs), DATASET):
            yield from mapped(ray, jobs[k : k + DATASET], (settings, tries), workers, each)
    finally:
        ray.shutdown()


def join(address: str, total: int | None) -> ModuleType:
    """Start Ray here, or become part of a cluster, without a word or bar of its own; the module.

    Args:
        address: As of `on_ray`.
        total: Cores that a Ray started here has to give; the machine's where it is None.

    Raises:
        InvertAvatarError: Ray is not installed, or there is no cluster.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)  # is read as it is imported and begins
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InvertAvatarError('--address needs Ray: pip install "invertavatar[cluster]".') from error
    here = address == "local"
    try:
        with unseen():
            ray.init(
                address=address,
                num_cpus=total if here else None,
                include_dashboard=False if here else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InvertAvatarError(f"There is no Ray cluster at {address} ({reason}).") from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.target_max_block_size = 1  # byte: each row is a block, goes where there is room and comes back when done
    context.execution_no_progress_timeout_s = -1  # a job may take hours
    return ray


@contextmanager
def unseen() -> Iterator[None]:
    """Nothing of the block is printed on stderr, where Ray announces how much it is going to say."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def room(has: Mapping[str, float], address: str, cores: float, gpus: float) -> int:
    """How many workers a cluster has room for.

    Args:
        has: Its resources.
        address, cores, gpus: As of `on_ray`.

    Raises:
        InvertAvatarError: For none.
    """
    wants = {"CPU": cores, "GPU": gpus}
    count = int(min(has.get(name, 0) / number for name, number in wants.items() if number))
    if not count:
        raise InvertAvatarError(
            f"Ray at {address} has no room for a worker: it has {has.get('CPU', 0):g} cores and {has.get('GPU', 0):g} "
            f"GPUs, a worker takes {cores:g} and {gpus:g}. Take less with --cores and --gpus; where the cluster grows "
            "when there is work, say how many --workers."
        )
    return count


def mapped(ray: ModuleType, jobs: Sequence[Job], given: tuple, workers: int, each: dict) -> Iterator[dict]:
    """The records of jobs, by one dataset and its pool of actors.

    Args:
        ray: The module.
        jobs: One at least.
        given: To each `Worker`.
        workers: As many at most.
        each: What each takes of the cluster, as options of Ray.

    Raises:
        InvertAvatarError: Workers cannot load the model.
    """
    pool = ray.data.ActorPoolStrategy(
        size=min(workers, len(jobs)),
        max_tasks_in_flight_per_actor=AT_A_WORKER,
        max_concurrent_calls_per_actor=AT_A_WORKER,
        enable_true_multi_threading=True,
    )
    blocks = [{"jobs": pickle.dumps(jobs[k : k + TOGETHER])} for k in range(0, len(jobs), TOGETHER)]
    rows = ray.data.from_items(blocks, override_num_blocks=len(blocks)).flat_map(one_by_one, num_cpus=0, concurrency=1)
    records = rows.map(Worker, fn_constructor_args=given, compute=pool, **each)
    with closing(iter(records.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))) as batches:
        for value in (value for batch in batches for value in batch["record"].to_pylist()):
            record = pickle.loads(value)
            if isinstance(record, InvertAvatarError):
                raise record
            yield record


def one_by_one(block: dict) -> Iterator[dict]:
    """A block of jobs as rows of one each."""
    for job in pickle.loads(block["jobs"]):
        yield {"job": pickle.dumps(job)}


class Tries:
    """How often workers began something and did not come to its end: an actor, which outlives them."""

    def __init__(self):
        self.counts: Counter[int | str] = Counter()

    def of(self, what: int | str) -> int:
        """How often that was."""
        return self.counts[what]

    def begin(self, what: int | str) -> int:
        """One time more; how often before."""
        self.counts[what] += 1
        return self.counts[what] - 1

    def end(self, what: int | str) -> None:
        """It has come to its end."""
        del self.counts[what]


class Worker:
    """A worker in a process of Ray's: a model, and jobs, two at a time at most.

    A job that was with a lost worker is done while there is no other, so that only a job that ends workers is blamed
    for it.

    Args:
        settings: Of the run.
        tries: The actor `Tries`.
    """

    def __init__(self, settings: Settings, tries: "ActorHandle"):
        import ray

        from .runner import Runner

        self.ray, self.tries, self.refusal = ray, tries, None
        self.entering, self.places = threading.Lock(), threading.Semaphore(AT_A_WORKER)
        name = ray.get_runtime_context().get_actor_id()  # the same in the process that takes a lost one's place
        starts = ray.get(tries.begin.remote(name))
        if starts >= FALSE_STARTS:  # pyright: ignore[reportOperatorIssue] # ray takes what an actor says for a list
            self.refusal = lost_as_they_started()
            return
        try:
            self.runner = Runner(settings)
        except InvertAvatarError as error:
            self.refusal = InvertAvatarError(str(error))
        tries.end.remote(name)

    def __call__(self, row: dict) -> dict:
        """The record of a row's job (`Runner.run`), or the error that ends the run."""
        return {"record": pickle.dumps(self.refusal or self.tried(pickle.loads(row["job"])))}

    def tried(self, job: Job) -> dict:
        """The record of a job, also of one that has ended too many workers."""
        suspect = self.ray.get(self.tries.of.remote(job.row)) > 0
        with self.place(alone=suspect):
            lost = self.ray.get(self.tries.begin.remote(job.row))
            record = self.runner.run(job) if lost < TRIES else given_up(job)
        self.tries.end.remote(job.row)
        return record

    @contextmanager
    def place(self, alone: bool) -> Iterator[None]:
        """One of the places of the worker, or all of them."""
        taken = AT_A_WORKER if alone else 1
        with self.entering:
            for _ in range(taken):
                self.places.acquire()
        try:
            yield
        finally:
            self.places.release(taken)
