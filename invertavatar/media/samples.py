"""The sound of a file as numbers."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from ..errors import MediaError
from .files import existing_file
from .sound import decoded, in_one_form, in_time
from .sound_length import silent
from .streams import first_time, open_input, sound_stream

logger = logging.getLogger(__name__)


def read_samples(path: str | os.PathLike, rate: int) -> Iterator[np.ndarray]:
    """The sound of a file piece after piece, as the film of it would have it: from time 0 on, without gaps.

    Args:
        path: A sound file, or a video with sound.
        rate: Samples a second to bring it to.

    Yields:
        [n] float32 in -1..1 of all channels together, some thousand samples at a time.

    Raises:
        MediaError: The file is missing, or holds no sound that can be read.
    """
    path, damaged, heard = Path(path), [], False
    existing_file(path)
    try:
        source = open_input(path)
    except MediaError as error:
        raise MediaError(silent(path.name)) from error
    with source:
        stream = sound_stream(source)
        if stream is not None:
            mono = av.AudioLayout("mono")
            for piece in in_time(in_one_form(decoded(source, stream, damaged), mono, rate), first_time(path), rate):
                heard = True
                yield piece[0]
    if not heard:
        raise MediaError(silent(path.name))
    if damaged:
        logger.warning("The sound of %s is damaged; %d of its packets are left out.", path.name, len(damaged))
