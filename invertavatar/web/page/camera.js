// The visitor's camera, and the tracker that looks at its pictures on a thread of its own.

const PATIENCE = 0.35; // seconds without a picture, after which the next one is asked for by the clock

/** The face tracker. It looks at one picture at a time: what comes meanwhile is left out, so that no queue builds. */
export class Tracker {
  /** @param {object} settings - The page's. */
  constructor(settings) {
    this.waiting = null;
    const bundle = import.meta.resolve("@mediapipe/tasks-vision");
    const loader = new URL("wasm/vision_wasm_module_internal.js", bundle).href;
    const binary = new URL("wasm/vision_wasm_module_internal.wasm", bundle).href;
    this.given = {
      ...settings.tracker,
      names: settings.names,
      bundle,
      wasm: { wasmLoaderPath: loader, wasmBinaryPath: binary },
      model: new URL(settings.tracker.model, document.baseURI).href,
      template: new URL(settings.tracker.template, document.baseURI).href,
    };
  }

  /** Starts on first use; waits until it can look at pictures. */
  start() {
    this.started ??= new Promise((done, fail) => {
      // As a blob it is under the page's own content security policy, which a file of a server would not be.
      const program = `import ${JSON.stringify(new URL("tracking_worker.js", import.meta.url).href)};`;
      const address = URL.createObjectURL(new Blob([program], { type: "text/javascript" }));
      this.worker = new Worker(address, { type: "module" });
      this.worker.onerror = (event) => fail(new Error(event.message || "The face tracker could not be started."));
      this.worker.onmessage = ({ data }) => {
        if (data.ready) return done();
        if (data.number === undefined) return fail(new Error(data.problem));
        const answer = this.waiting;
        this.waiting = null;
        if (data.problem) answer.fail(new Error(data.problem));
        else answer.done(data.face);
      };
      this.worker.postMessage({ start: this.given });
    });
    return this.started;
  }

  /** Whether it still looks at a picture. */
  get busy() {
    return this.waiting !== null;
  }

  /**
   * The face in a picture.
   * @param {ImageBitmap} picture - Is used up.
   * @param {boolean} alone - Belongs to no film.
   * @returns {Promise<{scores: number[], quaternion: number[], size: number} | null>} Null where there is none.
   */
  see(picture, alone = false) {
    return new Promise((done, fail) => {
      this.waiting = { done, fail };
      this.worker.postMessage({ picture, alone, number: performance.now() }, [picture]);
    });
  }
}

/** The camera's film in a video element. */
export class Camera {
  /** @param {HTMLVideoElement} video - Plays it. */
  constructor(video) {
    this.video = video;
    this.running = 0;
  }

  /**
   * Opens it and calls `onFrame(time)` for each picture, in milliseconds; `onEnd()` when it goes away.
   * @throws {Error} With a sentence, where there is none or it may not be used.
   */
  async open(onFrame, onEnd, deviceId) {
    this.close();
    const running = ++this.running;
    const stream = await asked(deviceId);
    if (running !== this.running) return stream.getTracks().forEach((track) => track.stop()); // closed meanwhile
    stream.getVideoTracks()[0].addEventListener("ended", () => running === this.running && onEnd());
    this.video.srcObject = stream;
    await this.video.play();
    const next = () => {
      if (running !== this.running) return;
      let asking = true;
      const seen = (now) => {
        if (!asking) return;
        asking = false;
        clearTimeout(late);
        if (running !== this.running) return;
        onFrame(now);
        next();
      };
      const late = setTimeout(() => seen(performance.now()), 1000 * PATIENCE);
      if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(seen);
      else requestAnimationFrame(seen);
    };
    next();
  }

  /** Switches it off. */
  close() {
    this.running++;
    this.video.srcObject?.getTracks().forEach((track) => track.stop());
    this.video.srcObject = null;
  }

  /** The cameras there are, with their names once one of them may be used. */
  static async all() {
    const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    return devices.filter(({ kind, deviceId }) => kind === "videoinput" && deviceId);
  }
}

async function asked(deviceId) {
  if (!navigator.mediaDevices) {
    throw new Error("A camera is given only to pages from https or from localhost; open this one so.");
  }
  const which = deviceId ? { deviceId: { exact: deviceId } } : { facingMode: "user" };
  try {
    return await navigator.mediaDevices.getUserMedia({
      video: { ...which, width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } },
      audio: false,
    });
  } catch (error) {
    throw new Error(REFUSALS[error.name] ?? `The camera cannot be used: ${error.message}`);
  }
}

const REFUSALS = {
  NotAllowedError: "The camera was refused. Allow it for this page in the browser's address bar, then choose Camera again.",
  NotFoundError: "No camera was found. Connect one, or choose another way to move the avatar.",
  NotReadableError: "Another program uses the camera. Close it, then choose Camera again.",
  OverconstrainedError: "That camera is gone. Choose another.",
};
