// Recorded motions: tables of ARKit's 52 scores, as text (Live Link Face's and others with a header) or as JSON
// (Audio2Face's export, or a list of frames with a name for each value). What is rarer the program `invertavatar track`
// reads: its own .csv is read here.

import { multiply, quaternionOf, turn } from "./pose.js";

const USUAL_RATE = 60; // of a table that does not tell
const BASES = [24, 25, 30, 48, 50, 60, 100, 120, 240, 1000]; // what frames of a time code count up to

/**
 * Reads a recording.
 * @param {string} text - Of the file.
 * @param {string[]} names - The 52 axes.
 * @returns {{times: number[], poses: {scores: number[], quaternion: number[]}[]}} Times in seconds from 0, increasing.
 * @throws {Error} With a sentence about what is wrong.
 */
export function readRecording(text, names) {
  const { header, rows, rate } = /^\s*[[{]/.test(text) ? jsonTable(text) : textTable(text);
  const plain = header.map((title) => String(title).toLowerCase().replace(/[^a-z0-9]/g, ""));
  const column = (...spellings) => plain.findIndex((title) => spellings.some((s) => title === s || title.endsWith(s)));
  const scoreColumns = names.map((name) => column(...spellings(name)));
  const angles = ["yaw", "pitch", "roll"];
  const own = angles.map((angle) => plain.indexOf(angle)), live = angles.map((angle) => column(`head${angle}`));
  if (![...scoreColumns, ...own, ...live].some((index) => index >= 0)) {
    throw new Error("No column moves a head: name columns like ARKit's scores (jawOpen, eyeBlinkLeft) or yaw, pitch, roll.");
  }
  const number = (row, index) => (index < 0 || row[index] === "" || row[index] == null ? 0 : Number(row[index]));
  const kept = rows.filter((row) => row.some((cell, index) => index > 1 && cell !== "" && cell != null) || row.length < 3);
  const percent = kept.some((row) => scoreColumns.some((index) => number(row, index) > 2)) ? 0.01 : 1;
  const poses = kept.map((row) => ({
    scores: scoreColumns.map((index) => percent * number(row, index)),
    quaternion: live.some((index) => index >= 0)
      ? liveLink(...live.map((index) => (number(row, index) * 180) / Math.PI))
      : quaternionOf(...own.map((index) => number(row, index))),
  }));
  if (!poses.length) throw new Error("The recording has no frame that shows a face.");
  if (poses.some(({ scores, quaternion }) => ![...scores, ...quaternion].every(Number.isFinite))) {
    throw new Error("A cell of the recording is no number.");
  }
  return { times: times(kept, plain, rate), poses };
}

/** Where a recording is at a time; between its frames the nearer one. */
export function poseAt({ times, poses }, time) {
  let low = 0, high = times.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (times[middle] <= time) low = middle;
    else high = middle - 1;
  }
  return poses[low];
}

/** What `readRecording` and `invertavatar animate --driving` read: one object for each frame. */
export function writeRecording({ times, poses }, names, anglesOf) {
  const round = (value) => Math.round(value * 1e4) / 1e4;
  const frames = poses.map(({ scores, quaternion }, index) => {
    const [yaw, pitch, roll] = anglesOf(quaternion).map(round);
    return { time: round(times[index]), ...Object.fromEntries(names.map((name, k) => [name, round(scores[k])])), yaw, pitch, roll };
  });
  return JSON.stringify(frames);
}

/** Live Link Face's angles in degrees; see `Motion.from_arkit_csv` on how sure their signs are. */
const liveLink = (yaw, pitch, roll) => multiply(turn(1, yaw), multiply(turn(0, -pitch), turn(2, roll)));

function spellings(name) {
  const lower = name.toLowerCase();
  const side = /(left|right)$/.exec(lower)?.[0];
  return side ? [lower, lower.slice(0, -side.length) + side[0]] : [lower];
}

function textTable(text) {
  const lines = text.replace(/^\uFEFF/, "").split(/\r?\n/).filter((line) => line.trim() && !line.startsWith("#"));
  if (lines.length < 2) throw new Error("The recording has no rows below its header.");
  const delimiter = [",", ";", "\t"].reduce((a, b) => (lines[0].split(b).length > lines[0].split(a).length ? b : a));
  const cells = (line) => line.split(delimiter).map((cell) => cell.trim().replace(/^"|"$/g, ""));
  const decimal = (row) => (delimiter === "," ? row : row.map((cell) => cell.replace(",", ".")));
  return { header: cells(lines[0]), rows: lines.slice(1).map(cells).map(decimal) };
}

function jsonTable(text) {
  let document;
  try {
    document = JSON.parse(text);
  } catch {
    throw new Error("The recording is no JSON that can be read.");
  }
  const rate = Number(document.exportFps ?? document.fps) || undefined;
  if (Array.isArray(document.facsNames) && Array.isArray(document.weightMat)) {
    return { header: document.facsNames, rows: document.weightMat, rate };
  }
  const frames = Array.isArray(document) ? document : document.frames;
  if (!Array.isArray(frames) || !frames.every((frame) => frame && typeof frame === "object")) {
    throw new Error('Give an Audio2Face export (facsNames, weightMat) or a list of frames such as {"time": 0, "jawOpen": 0.4}.');
  }
  const header = [...new Set(frames.flatMap(Object.keys))];
  return { header, rows: frames.map((frame) => header.map((name) => frame[name] ?? "")), rate };
}

function times(rows, titles, rate) {
  const even = rows.map((_, index) => index / (rate ?? USUAL_RATE));
  const code = titles.findIndex((title) => title === "timecode");
  const seconds = titles.findIndex((title) => ["time", "times", "timestamp", "seconds", "t"].includes(title));
  let found = even;
  if (seconds >= 0) {
    found = rows.map((row) => Number(row[seconds]));
  } else if (code >= 0) {
    const parts = rows.map((row) => String(row[code]).split(":").map(Number));
    const base = BASES.find((each) => each > Math.max(...parts.map(([, , , frame = 0]) => Math.floor(frame))));
    found = parts.map(([hours, minutes, whole, frame = 0]) => hours * 3600 + minutes * 60 + whole + frame / base);
  }
  const usable = found.every((time, index) => Number.isFinite(time) && (index === 0 || time > found[index - 1]));
  return usable ? found.map((time) => time - found[0]) : even;
}
