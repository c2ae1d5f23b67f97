"""What a face does beside speaking: it blinks, and the head moves a little. Both come from a seed.

Shapes: T frames.
"""

import numpy as np

AMPLITUDE = {"yaw": 5.0, "pitch": 3.5, "roll": 2.5}  # degrees of a lively speaker
WAVES = 5  # of each angle
RATES = (0.08, 0.55)  # times a second
BLINK_GAPS = (1.8, 2.6)  # seconds between blinks: at least, and on average beyond that
BLINK = (0.0, 0.08, 0.12, 0.30)  # seconds at which lids begin to close, are closed, begin to open and are open


class Liveliness:
    """Blinks and head motion along the time of one film; frames are asked for in their order.

    Args:
        seed: The same seed moves in the same way.
        head_motion: 0..1 strength of the head's.
        blinks: Whether there are any.
    """

    def __init__(self, seed: int = 0, head_motion: float = 0.5, blinks: bool = True):
        random = np.random.default_rng(seed)
        rate = random.uniform(*RATES, (len(AMPLITUDE), WAVES))
        weight = random.uniform(0.5, 1, rate.shape) / (rate / RATES[0]) ** 0.5  # slow waves are wide
        self._wave = rate, random.uniform(0, 2 * np.pi, rate.shape), weight / weight.sum(1, keepdims=True)
        self.head_motion = head_motion
        self._random, self._blinking = random, blinks
        self._next = [self._gap()] if blinks else []

    def head(self, seconds: np.ndarray, activity: np.ndarray) -> np.ndarray:
        """[T, 3] degrees of yaw, pitch and roll.

        Args:
            seconds: [T] times of the frames.
            activity: [T] 0..1, how much of it shows: none while nobody speaks.
        """
        rate, phase, weight = self._wave
        waves = np.sin(2 * np.pi * rate * seconds[:, None, None] + phase)  # [T, 3, WAVES]
        angles = (waves * weight).sum(2) * list(AMPLITUDE.values())
        return angles * self.head_motion * activity[:, None]

    def blinks(self, seconds: np.ndarray) -> np.ndarray:
        """[T] 0..1 how far both lids are closed."""
        lids = np.zeros(len(seconds))
        if not self._blinking or not len(seconds):
            return lids
        while self._next[-1] < seconds[-1]:
            self._next.append(self._next[-1] + self._gap())
        for start in self._next:
            lids = np.maximum(lids, np.interp(seconds - start, BLINK, (0, 1, 1, 0), left=0, right=0))
        self._next = [start for start in self._next if start + BLINK[-1] > seconds[-1]]
        return lids

    def _gap(self) -> float:
        least, beyond = BLINK_GAPS
        return least + self._random.exponential(beyond)
