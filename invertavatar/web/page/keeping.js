// Recording what is shown: a film of the canvas as WebM, and the motion as JSON.

const KINDS = ["video/webm;codecs=vp9", "video/webm;codecs=vp8", "video/webm"];
const RATE = 30, BITS = 6_000_000; // frames and bits a second

/** Films a canvas over a background, with a mark that says what it is. */
export class Film {
  /**
   * @param {HTMLCanvasElement} canvas - Is filmed after each frame by `add`.
   * @param {() => string} background - A CSS colour.
   * @param {string} mark - Written into the corner.
   */
  constructor(canvas, background, mark) {
    const kind = KINDS.find((each) => globalThis.MediaRecorder?.isTypeSupported(each));
    if (!kind) throw new Error("This browser records no WebM; take Chrome, Edge or Firefox.");
    Object.assign(this, { canvas, background, mark, parts: [] });
    this.sheet = document.createElement("canvas");
    [this.sheet.width, this.sheet.height] = [canvas.width & ~1, canvas.height & ~1];
    this.brush = this.sheet.getContext("2d");
    this.add();
    this.recorder = new MediaRecorder(this.sheet.captureStream(RATE), { mimeType: kind, videoBitsPerSecond: BITS });
    this.recorder.ondataavailable = ({ data }) => data.size && this.parts.push(data);
    this.recorder.start(1000);
  }

  /** Takes what the canvas shows now; in the task in which it was drawn. */
  add() {
    const { brush, sheet, canvas } = this;
    brush.fillStyle = this.background();
    brush.fillRect(0, 0, sheet.width, sheet.height);
    brush.drawImage(canvas, 0, 0, sheet.width, sheet.height);
    const size = Math.max(9, Math.round(Math.min(sheet.width, sheet.height) / 24)), pad = size / 3;
    brush.font = `${size}px system-ui, sans-serif`;
    const width = brush.measureText(this.mark).width + 3 * pad;
    brush.fillStyle = "rgb(0 0 0 / 0.45)";
    brush.fillRect(sheet.width - width - pad, sheet.height - size - 3 * pad, width, size + 2 * pad);
    brush.fillStyle = "white";
    brush.textBaseline = "top";
    brush.fillText(this.mark, sheet.width - width + pad / 2, sheet.height - size - 2 * pad);
  }

  /** Ends it; the whole film as a blob. */
  end() {
    return new Promise((done) => {
      this.recorder.onstop = () => done(new Blob(this.parts, { type: "video/webm" }));
      this.recorder.stop();
    });
  }
}

/** Collects the poses that were shown. */
export class MotionTape {
  times = [];
  poses = [];

  /** Takes a pose at a time in seconds. */
  add(time, pose) {
    this.start ??= time;
    this.times.push(time - this.start);
    this.poses.push(pose);
  }
}

/** A link that saves a blob. */
export function savingLink(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.textContent = `Save ${name} (${(blob.size / 1e6).toFixed(1)} MB)`;
  return link;
}
