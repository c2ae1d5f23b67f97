"""Workers as processes of this machine."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from ..errors import InvertAvatarError
from .job import Job, Settings
from .scheduler import AT_A_WORKER, Event

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext


class LocalWorker:
    """One process and the line to it."""

    def __init__(self, context: "ForkServerContext | SpawnContext", settings: Settings):
        self.line, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, settings), daemon=True)
        self.process.start()
        theirs.close()


class LocalEngine:
    """Processes that begin alike: torch is imported once, in a process that holds nothing else, and shared by all.

    Args:
        settings: Of the run.
        devices: Given to workers in turn; by default that of the settings.
    """

    def __init__(self, settings: Settings, devices: list[str] | None = None):
        self.each = [replace(settings, device=device) for device in devices or [settings.device]]
        # Forking this process would take along its threads' locks and a GPU's state.
        self.context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
        if sys.platform == "linux":
            self.context.set_forkserver_preload(["invertavatar.batch.runner"])
        self.workers: list[LocalWorker] = []
        self.started = 0

    def start(self) -> LocalWorker:
        """See `scheduler.Engine`."""
        worker = LocalWorker(self.context, self.each[self.started % len(self.each)])
        self.started += 1
        self.workers.append(worker)
        return worker

    def submit(self, worker: LocalWorker, job: Job) -> None:
        """See `scheduler.Engine`."""
        try:
            worker.line.send(job)
        except OSError:  # it is lost, which `wait` finds out
            return

    def wait(self) -> list[Event]:
        """See `scheduler.Engine`."""
        events, spoke = [], wait([worker.line for worker in self.workers])
        for worker in [worker for worker in self.workers if worker.line in spoke]:
            try:
                events.append(Event(worker, *worker.line.recv()))
            except (EOFError, OSError):
                worker.process.join()
                worker.line.close()
                self.workers.remove(worker)
                events.append(Event(worker, "lost", f"exit status {worker.process.exitcode}"))
        return events

    def stop(self) -> None:
        """See `scheduler.Engine`."""
        for worker in self.workers:
            worker.process.kill()  # results appear whole, so that there is nothing to be polite about
        for worker in self.workers:
            worker.process.join()
            worker.line.close()
        self.workers.clear()


def serve(line: Connection, settings: Settings) -> None:
    """The life of a worker: does what comes along the line until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the first one ends us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    from .runner import Runner

    errors = logging.StreamHandler()  # tracebacks of what nobody foresaw; warnings are the manifest's
    errors.setLevel(logging.ERROR)
    logging.getLogger("invertavatar").addHandler(errors)
    speaking = threading.Lock()

    def say(kind: str, value: object = None) -> None:
        with speaking:
            line.send((kind, value))

    try:
        runner = Runner(settings)
    except InvertAvatarError as error:
        say("refused", str(error))
        return
    say("ready")
    pool = ThreadPoolExecutor(AT_A_WORKER)
    while True:
        try:
            job = line.recv()
        except (EOFError, OSError):
            os._exit(0)  # the run is over, or its process was killed: no use in finishing
        pool.submit(lambda job=job: say("record", runner.run(job)))
