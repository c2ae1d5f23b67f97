// What is done with a driver's scores and head pose before they move the avatar, as invertavatar/tracking/retargeting.py and
// smoothing.py do it: relative to a neutral, cut to the range that the head model knows, smoothed, mirrored.
// A pose is {scores: [52], quaternion: [x, y, z, w]}.

import { inverse, multiply, quaternionOfVector, vectorOf } from "./pose.js";

export const STILL = [0, 0, 0, 1];

/** What is neutral for a driver: the median of what came in over a while. */
export class Neutral {
  /** @param {number} seconds - How long it watches. */
  constructor(seconds) {
    this.seconds = seconds;
    this.restart();
  }

  /** Forget it and watch again. */
  restart() {
    this.samples = [];
    this.pose = null;
  }

  /** Takes a pose at a time in seconds; until it has seen enough it is relative to what it has seen so far. */
  watch(pose, time) {
    if (this.pose) return;
    this.samples.push({ ...pose, time });
    if (time - this.samples[0].time >= this.seconds) {
      this.pose = this.sofar();
      this.samples = [];
    }
  }

  /** The neutral, or what it would be by now; not before a pose was watched. */
  sofar() {
    if (this.pose) return this.pose;
    const first = this.samples[0].quaternion;
    const sum = [0, 0, 0, 0];
    for (const { quaternion } of this.samples) {
      const sign = quaternion.reduce((dot, value, k) => dot + value * first[k], 0) < 0 ? -1 : 1;
      quaternion.forEach((value, k) => (sum[k] += sign * value));
    }
    const length = Math.hypot(...sum);
    return {
      scores: this.samples[0].scores.map((_, k) => median(this.samples.map(({ scores }) => scores[k]))),
      quaternion: sum.map((value) => value / length),
    };
  }
}

/** A driver's departure from their neutral. */
export function relative({ scores, quaternion }, neutral) {
  return {
    scores: scores.map((score, k) => score - neutral.scores[k]),
    quaternion: multiply(quaternion, inverse(neutral.quaternion)),
  };
}

/** A departure from the avatar's own rest. */
export function added(rest, { scores, quaternion }) {
  return { scores: scores.map((score, k) => rest.scores[k] + score), quaternion: multiply(quaternion, rest.quaternion) };
}

/** A pose times a strength; rotations in angle. */
export function scaled({ scores, quaternion }, strength) {
  return {
    scores: scores.map((score) => strength * score),
    quaternion: quaternionOfVector(vectorOf(quaternion).map((value) => strength * value)),
  };
}

/** Cut to what the head model can show: mouthClose closes lips over an open jaw, and would tear shut ones. */
export function capped({ scores, quaternion }, settings) {
  const [low, high] = settings.expressionRange;
  const kept = scores.map((score) => Math.max(low, Math.min(high, score)));
  const close = settings.names.indexOf("mouthClose"), jaw = settings.names.indexOf("jawOpen");
  kept[close] = Math.min(kept[close], Math.max(0, kept[jaw]));
  return { scores: kept, quaternion };
}

/** As a mirror shows it: left and right change places. */
export function mirrored({ scores, quaternion: [x, y, z, w] }, settings) {
  return { scores: settings.mirror.map((other) => scores[other]), quaternion: [x, -y, -z, w] };
}

/** The One-Euro filter: a still face is smoothed hard, a blink or a turn passes. */
export class OneEuro {
  /** @param {object} settings - Its constants, by the names of smoothing.py. */
  constructor({ derivativeCutoff, rotationReference }) {
    this.derivativeCutoff = derivativeCutoff;
    this.rotationReference = rotationReference;
    this.estimate = null;
  }

  /** Takes a pose at a time in seconds; `smooth` is 0 (none) to 1. */
  filter(pose, time, smooth) {
    const dt = Math.max(1e-3, time - this.time);
    if (this.estimate === null || !(dt < 1)) {
      this.estimate = this.sample = pose;
      this.speeds = pose.scores.map(() => 0);
      this.turning = [0, 0, 0];
    } else {
      const lowest = 10 ** (1 - 2 * smooth), beta = 2 * 4 ** (1 - smooth), steady = weight(this.derivativeCutoff, dt);
      const scores = pose.scores.map((score, k) => {
        this.speeds[k] += steady * ((score - this.sample.scores[k]) / dt - this.speeds[k]);
        const share = smooth ? weight(lowest + beta * Math.abs(this.speeds[k]), dt) : 1;
        return this.estimate.scores[k] + share * (score - this.estimate.scores[k]);
      });
      const way = vectorOf(multiply(inverse(this.sample.quaternion), pose.quaternion));
      this.turning = this.turning.map((value, k) => value + steady * (way[k] / dt - value));
      const speed = Math.hypot(...this.turning) / this.rotationReference;
      const share = smooth ? weight(lowest + beta * speed, dt) : 1;
      this.estimate = { scores, quaternion: blended(this.estimate.quaternion, pose.quaternion, share) };
      this.sample = pose;
    }
    this.time = time;
    return this.estimate;
  }
}

/** A share of the way from one rotation to another. */
export function blended(from, to, share) {
  const way = vectorOf(multiply(inverse(from), to));
  return multiply(from, quaternionOfVector(way.map((value) => share * value)));
}

function weight(cutoff, dt) {
  const turns = 2 * Math.PI * cutoff * dt;
  return turns / (turns + 1);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}
