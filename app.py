"""The app: photos -> avatar, avatar and driver -> video, avatar and sliders -> pictures. One page, four tabs.

It runs locally (`make app`), as a Space and on ZeroGPU as it stands. Here it is started; page, tabs and what they ask
for are in `invertavatar.app`.
"""

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading

from invertavatar.app import model, page, settings
from invertavatar.app.endpoints import workspace
from invertavatar.app.visitors import VISITORS

CACHE_VARIABLE = "GRADIO_TEMP_DIR"  # names the folder of uploads and results in the environment


def main() -> None:
    """Start the page; the model is loaded meanwhile."""
    parser = argparse.ArgumentParser(description="InvertAvatar in the browser: the page opens at the printed address.")
    parser.add_argument(
        "--host", help="Address to listen on; 0.0.0.0 lets other machines in. By default only this one."
    )
    parser.add_argument("--port", type=int, help="By default the first free one from 7860 on.")
    parser.add_argument("--share", action="store_true", help="Also a public link, through Gradio's servers.")
    parser.add_argument("--model", help="Folder or Hub id of the model; by default the one that is shipped.")
    parser.add_argument(
        "--max-queue", type=int, default=16, help="Jobs that may wait, beyond which one is refused (16)."
    )
    parser.add_argument(
        "--max-seconds", type=float, default=settings.MAX_SECONDS, help="Longest driver in seconds (60)."
    )
    parser.add_argument(
        "--max-avatars", type=int, default=VISITORS.most, help="Avatars kept at a time, of some 15 MB each (64)."
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    if options.model:
        os.environ[model.MODEL_VARIABLE] = options.model
    settings.MAX_SECONDS, VISITORS.most = options.max_seconds, options.max_avatars
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # a polite kill cleans up too
    with contextlib.ExitStack() as until_the_end:
        if CACHE_VARIABLE not in os.environ:  # a folder of the app's own: what is oldest in it makes room
            os.environ[CACHE_VARIABLE] = until_the_end.enter_context(workspace())
        served = page.queued(page.build(), options.max_queue)
        address = {"server_name": options.host, "server_port": options.port, "share": options.share}
        served.launch(**address, prevent_thread_lock=True, **page.launch_options(served))
        # Not before: Gradio gives up on a page that takes three seconds to answer first.
        threading.Thread(target=model.load, daemon=True).start()
        threading.Thread(target=page.tidy, daemon=True).start()
        served.block_thread()


if model.ON_ZERO_GPU:
    model.load()  # what is put on the GPU here, ZeroGPU hands to its workers

if __name__ == "__main__":
    main()
