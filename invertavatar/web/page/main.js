// The page: one avatar, five things that may move it, and what can be kept of that.

import { Avatar } from "./avatar.js";
import { Camera, Tracker } from "./camera.js";
import { Film, MotionTape, savingLink } from "./keeping.js";
import { added, capped, mirrored, Neutral, OneEuro, relative, scaled } from "./motion.js";
import { anglesOf, quaternionOf } from "./pose.js";
import { Sliders } from "./sliders.js";
import { poseAt, readRecording, writeRecording } from "./table.js";

const $ = (id) => document.getElementById(id);
const settings = await (await fetch("settings.json")).json();
const tracker = new Tracker(settings);
const camera = new Camera($("camera_picture"));
const neutral = new Neutral(settings.neutralSeconds);
const oneEuro = new OneEuro(settings.smoothing);
const state = { driver: null, held: false, film: null, tape: null, recording: null, answers: [], frames: [], latency: [] };
globalThis.invertavatar = { state, settings }; // for whoever wants to look, or to build upon it

// What the page says

function say(sentence, mood = "") {
  $("status").textContent = sentence;
  $("light").className = mood;
}

const trouble = (error) => say(error.message, "bad");

function showPace() {
  const now = performance.now();
  const rate = (times) => times.filter((time) => now - time < 1000).length;
  state.frames = state.frames.filter((time) => now - time < 1000);
  state.answers = state.answers.filter((time) => now - time < 1000);
  const parts = [`${rate(state.frames)} frames/s`];
  if (state.driver === "camera") {
    parts.push(`tracked ${rate(state.answers)}/s`);
    if (state.latency.length) parts.push(`${Math.round(state.latency.reduce((a, b) => a + b) / state.latency.length)} ms`);
    state.latency = [];
  }
  if (avatar.software) parts.push("no GPU");
  $("pace").textContent = state.frames.length ? parts.join(" · ") : "";
}

// What moves the avatar

const drivers = {
  camera: {
    async start() {
      say("Waiting for the camera and the face tracker…");
      const began = camera.open(cameraFrame, () => say("The camera has gone. Choose Camera again.", "bad"), $("devices").value);
      await began;
      await tracker.start();
      if (state.driver !== "camera") return;
      neutral.restart();
      say("Looking for a face…");
      await listCameras();
    },
    stop() {
      camera.close();
      $("camera_picture").hidden = true;
    },
  },
  mouse: { start: () => say("Point somewhere.", "good") },
  sliders: {
    start() {
      say("Moved by the sliders.", "good");
      move(sliders.pose);
    },
  },
  recording: {
    start() {
      if (state.recording) play();
      else say("Choose a recorded motion.");
    },
  },
  picture: { start: () => say("Choose a photo, or take one.") },
};

async function choose(name) {
  drivers[state.driver]?.stop?.();
  state.driver = name;
  setHeld(false);
  for (const panel of document.querySelectorAll(".panel")) panel.classList.toggle("open", panel.dataset.driver === name);
  document.querySelector(`input[value=${name}]`).checked = true;
  avatar.orbit.enableRotate = name !== "mouse";
  try {
    await drivers[name].start();
  } catch (error) {
    if (state.driver === name) trouble(error);
  }
}

/** The avatar takes a pose; scores and turn are cut to what it can show. */
function move(pose) {
  avatar.show(capped(pose, settings));
}

async function cameraFrame(captured) {
  $("camera_picture").hidden = !$("preview").checked;
  $("camera_picture").classList.toggle("mirror", $("mirror").checked);
  if (!tracker.worker || tracker.busy || state.held || !camera.video.videoWidth) return; // a late picture is left out
  try {
    await tracker.started;
    if (tracker.busy) return;
    tracker.waiting = {}; // while the picture is fetched
    const face = await tracker.see(await createImageBitmap(camera.video));
    if (state.driver !== "camera" || state.held) return;
    state.answers.push(performance.now());
    follow(face, captured);
  } catch (error) {
    tracker.waiting = null;
    trouble(error);
  }
}

function follow(face, captured) {
  if (!face) return say("No face in sight: come nearer, or find more light.", "bad");
  const time = captured / 1000;
  neutral.watch(face, time);
  say(neutral.pose ? "Follows your face." : "Look straight ahead with a calm face…", "good");
  const raw = relative(face, neutral.sofar());
  const strong = added(avatar.rest, scaled(raw, Number($("strength").value)));
  const pose = oneEuro.filter(strong, time, Number($("smooth").value));
  state.face = face;
  state.captured = captured;
  move($("mirror").checked ? mirrored(pose, settings) : pose);
}

async function listCameras() {
  const devices = await Camera.all(), chosen = $("devices").value;
  $("devices").replaceChildren(...devices.map(({ deviceId, label }) => new Option(label || "Camera", deviceId)));
  if (chosen) $("devices").value = chosen;
  $("devices_label").hidden = devices.length < 2;
}

function setHeld(held) {
  state.held = held;
  $("hold").setAttribute("aria-pressed", held);
  if (held) say("Held still.", "good");
}

async function fromPicture(picture) {
  say("Looking for a face…");
  await tracker.start();
  if (tracker.busy) throw new Error("The tracker still looks at another picture; try again.");
  const face = await tracker.see(picture, true);
  if (!face) throw new Error("No face found. Take a picture where the face is larger and not seen from the side only.");
  if (state.driver === "picture") {
    say("As in the picture.", "good");
    move(face);
  }
}

async function snap() {
  say("Waiting for the camera…");
  const first = new Promise((seen, gone) => {
    camera.open(() => camera.video.videoWidth && seen(), () => gone(new Error("The camera has gone.")), $("devices").value).catch(gone);
  });
  try {
    await first;
    await new Promise((done) => setTimeout(done, 400)); // a camera that has just been opened is dark
    await fromPicture(await createImageBitmap(camera.video));
  } finally {
    camera.close();
  }
}

function play() {
  state.playing = performance.now();
  say(`Plays ${state.recording.name}, ${state.recording.times.at(-1).toFixed(1)} s, in a loop.`, "good");
}

function point(event) {
  if (state.driver !== "mouse") return;
  const { left, top, width, height } = $("avatar").getBoundingClientRect();
  const right = Math.max(-1, Math.min(1, (2 * (event.clientX - left)) / width - 1));
  const up = Math.max(-1, Math.min(1, 1 - (2 * (event.clientY - top)) / height));
  const scores = { jawOpen: event.buttons & 1 ? 0.5 : 0 };
  // Eyes go first, and the head some of the way: left and right are the avatar's own.
  const aside = Math.abs(right), [outward, inward] = right > 0 ? ["Left", "Right"] : ["Right", "Left"];
  Object.assign(scores, { [`eyeLookOut${outward}`]: 0.5 * aside, [`eyeLookIn${inward}`]: 0.5 * aside });
  for (const side of ["Left", "Right"]) scores[`eyeLook${up > 0 ? "Up" : "Down"}${side}`] = 0.4 * Math.abs(up);
  move({ scores: settings.names.map((name) => scores[name] ?? 0), quaternion: quaternionOf(28 * right, 18 * up) });
}

// What is kept

async function film() {
  const button = $("film");
  if (!state.film) {
    const colour = () => getComputedStyle($("stage")).backgroundColor;
    const soft = () => getComputedStyle(document.documentElement).getPropertyValue("--glow");
    state.film = new Film($("avatar"), () => ($("background").value === "page" ? soft() : colour()), settings.mark);
    avatar.dirty = true;
    $("saved").replaceChildren("Recording…");
  } else {
    const ended = state.film;
    state.film = null;
    $("saved").replaceChildren(savingLink(await ended.end(), "avatar.webm"));
  }
  button.setAttribute("aria-pressed", Boolean(state.film));
}

function tape() {
  if (!state.tape) {
    state.tape = new MotionTape();
    $("saved").replaceChildren("Recording the motion…");
  } else {
    const text = writeRecording(state.tape, settings.names, anglesOf);
    state.tape = null;
    $("saved").replaceChildren(savingLink(new Blob([text], { type: "application/json" }), "motion.json"));
  }
  $("motion").setAttribute("aria-pressed", Boolean(state.tape));
}

// The page itself

function frame(now) {
  const dt = Math.min(0.25, (now - (state.before ?? now)) / 1000);
  state.before = now;
  if (state.driver === "recording" && state.recording) {
    const { times } = state.recording;
    move(added(avatar.rest, poseAt(state.recording, ((now - state.playing) / 1000) % (times.at(-1) + 1 / 60))));
  }
  if (avatar.draw(dt)) {
    state.frames.push(performance.now());
    if (state.captured) state.latency.push(performance.now() - state.captured);
    state.captured = null;
  }
  state.film?.add();
  state.tape?.add(now / 1000, avatar.pose);
  requestAnimationFrame(frame);
}

function file(input, use) {
  input.addEventListener("change", async () => {
    const [chosen] = input.files;
    if (chosen) await use(chosen).catch(trouble);
    input.value = "";
  });
}

function attach() {
  for (const radio of document.querySelectorAll("input[name=driver]")) radio.addEventListener("change", () => choose(radio.value));
  const writeOutput = (slider) => {
    const output = slider.parentElement.querySelector("output");
    if (output) output.textContent = slider.value;
  };
  for (const slider of document.querySelectorAll("input[type=range]")) writeOutput(slider);
  document.addEventListener("input", ({ target }) => target.type === "range" && writeOutput(target));
  const commands = {
    neutral: () => neutral.restart(),
    hold: () => setHeld(!state.held),
    film: () => film().catch(trouble),
    motion: tape,
    front: () => avatar.lookFromFront(),
    full: () => (document.fullscreenElement ? document.exitFullscreen() : $("stage").requestFullscreen()),
    snap: () => snap().catch(trouble),
  };
  for (const [id, command] of Object.entries(commands)) $(id).addEventListener("click", command);
  const keys = { n: "neutral", h: "hold", r: "film", m: "motion", f: "front" };
  addEventListener("keydown", (event) => {
    const typing = event.target.matches?.("select, input[type=file]") || event.ctrlKey || event.metaKey || event.altKey;
    if (!typing && keys[event.key.toLowerCase()] && !event.repeat) commands[keys[event.key.toLowerCase()]]();
  });
  $("background").addEventListener("change", () => ($("stage").dataset.background = $("background").value));
  $("devices").addEventListener("change", () => choose("camera"));
  for (const kind of ["pointermove", "pointerdown", "pointerup"]) $("avatar").addEventListener(kind, point);
  file($("recording"), async (chosen) => {
    state.recording = { ...readRecording(await chosen.text(), settings.names), name: chosen.name };
    play();
  });
  file($("picture"), async (chosen) => {
    const picture = await createImageBitmap(chosen).catch(() => null);
    if (!picture) throw new Error(`${chosen.name} is no picture that this browser reads.`);
    await fromPicture(picture);
  });
}

let avatar, sliders;
try {
  avatar = new Avatar($("avatar"), settings);
  sliders = new Sliders(document.querySelector(".panel[data-driver=sliders]"), settings, () => {
    if (state.driver === "sliders") move(sliders.pose);
  });
  const address = new URLSearchParams(location.search).get("avatar") ?? settings.avatar;
  await avatar.load(address, ({ loaded, total }) => {
    $("loading").textContent = `Loading the avatar… ${total ? `${Math.round((100 * loaded) / total)} %` : ""}`;
  });
  $("loading").hidden = true;
  Object.assign(globalThis.invertavatar, { avatar, camera, tracker, choose, move });
  attach();
  move(avatar.rest);
  choose(document.querySelector("input[name=driver]:checked").value); // a click may have come before the avatar
  requestAnimationFrame(frame);
  setInterval(showPace, 500);
} catch (error) {
  $("loading").textContent = `The avatar cannot be shown: ${error.message}`;
  say("Nothing to move.", "bad");
}
