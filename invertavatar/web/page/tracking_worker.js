// The face tracker, beside the page's own thread: pictures in, scores and head pose out. It works as
// invertavatar/tracking/tracker.py does: a face is looked for in the whole picture, then followed in upright close-ups of one
// size, so that scores do not depend on how the picture is framed.

import { backFrom, fitPose, framing } from "./pose.js";

// MediaPipe writes its start-up messages into the console, some of them as errors: only its own errors stay.
const complain = console.error.bind(console);
for (const level of ["log", "info", "warn", "error"]) {
  console[level] = (...words) => /^[EF]\d{4} /.test(words[0]) && complain(...words);
}

let landmarker, settings, template, last, canvas, brush;

/** {start: settings} once, then {picture: ImageBitmap, number, alone} for each picture; each is answered. */
onmessage = async ({ data }) => {
  try {
    if (data.start) postMessage({ ready: await start(data.start) });
    else postMessage({ number: data.number, face: seen(data.picture, data.alone) });
  } catch (error) {
    postMessage({ number: data.number, problem: String(error?.message ?? error) });
  }
};

async function start(given) {
  settings = given;
  const { FaceLandmarker } = await import(settings.bundle);
  const [model, mean] = await Promise.all([fetched(settings.model), fetched(settings.template)]);
  template = await mean.json();
  canvas = new OffscreenCanvas(settings.closeUpSize, settings.closeUpSize);
  brush = canvas.getContext("2d", { willReadFrequently: true });
  landmarker = await FaceLandmarker.createFromOptions(settings.wasm, {
    baseOptions: { modelAssetBuffer: new Uint8Array(await model.arrayBuffer()), delegate: "CPU" },
    outputFaceBlendshapes: true,
    numFaces: settings.maxFaces,
    minFaceDetectionConfidence: settings.minFaceDetectionConfidence,
    minFacePresenceConfidence: settings.minFacePresenceConfidence,
  });
  landmarker.detect(brush.getImageData(0, 0, canvas.width, canvas.height)); // the first one takes longest
  return true;
}

async function fetched(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address} is not there (${answer.status}).`);
  return answer;
}

/** The face in a picture, which is closed; null where there is none. */
function seen(picture, alone) {
  try {
    const before = alone ? null : last;
    const face = (before && closeUp(picture, before.pose)) ?? found(picture, before);
    if (!alone) last = face ?? last;
    return face && { scores: face.scores, quaternion: face.pose.quaternion, size: face.pose.scale / picture.height };
  } finally {
    picture.close();
  }
}

/** Looks through the whole picture, then once more closely at what is there. */
function found(picture, before) {
  const { width, height } = picture, longest = Math.max(width, height);
  const whole = Math.min(1, settings.viewSize / longest);
  const views = [
    [{ a: whole, b: 0, e: 0, f: 0 }, Math.round(width * whole), Math.round(height * whole)],
    // A border helps with a face that fills the picture or is cut off by it.
    [framing([width / 2, height / 2], 0.9 * longest, settings.tileSize), settings.tileSize, settings.tileSize],
  ];
  for (const view of views) {
    const faces = look(picture, ...view);
    if (!faces.length) continue;
    const wanted = before ? nearest(faces, before.pose) : faces.reduce((a, b) => (b.pose.scale > a.pose.scale ? b : a));
    return closeUp(picture, wanted.pose) ?? wanted;
  }
  return null;
}

function closeUp(picture, pose) {
  const size = settings.closeUpSize;
  const faces = look(picture, framing(pose.centre, pose.scale, size, pose.roll), size, size);
  const near = faces.filter((face) => distance(face.pose, pose) < settings.sameFace * pose.scale);
  return near.length ? nearest(near, pose) : null;
}

/** The faces that MediaPipe sees in a view of a picture, in pixels of the picture. */
function look(picture, view, width, height) {
  [canvas.width, canvas.height] = [width, height];
  brush.fillStyle = "rgb(128 128 128)";
  brush.fillRect(0, 0, width, height);
  brush.setTransform(view.a, view.b, -view.b, view.a, view.e, view.f);
  brush.imageSmoothingQuality = "high";
  brush.drawImage(picture, 0, 0);
  const result = landmarker.detect(brush.getImageData(0, 0, width, height));
  const grown = 1 / Math.hypot(view.a, view.b);
  return result.faceLandmarks.map((points, index) => {
    const landmarks = points.map((p) => [...backFrom(view, [p.x * width, p.y * height]), p.z * width * grown]);
    const scores = Object.fromEntries(
      result.faceBlendshapes[index].categories.map(({ categoryName, score }) => [categoryName, score]),
    );
    return { scores: settings.names.map((name) => scores[name] ?? 0), pose: fitPose(template, landmarks) };
  });
}

const distance = (one, other) => Math.hypot(one.centre[0] - other.centre[0], one.centre[1] - other.centre[1]);
const nearest = (faces, pose) => faces.reduce((a, b) => (distance(b.pose, pose) < distance(a.pose, pose) ? b : a));
