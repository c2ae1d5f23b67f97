// The head pose of tracked landmarks, as invertavatar/head/pose.py and crop.py have it: scaled Procrustes against a mean
// head on points that expressions do not move. Head space: x to the picture's right, y up, z out of the face.
// Quaternions are [x, y, z, w].

const SWEEPS = 12; // of Jacobi's method: a 4x4 matrix is diagonal after five

/**
 * The pose of landmarks in pixels.
 * @param {{mean: number[][], rigid: number[]}} template - [V, 3] in head space; weight of each landmark.
 * @param {number[][]} landmarks - [V, 3] x right, y down, z away from the viewer, all in pixels.
 * @returns {{quaternion: number[], scale: number, centre: number[], roll: number}} Head -> camera; pixels of a head
 *   unit; pixel of the head's origin; degrees, clockwise.
 */
export function fitPose(template, landmarks) {
  const used = template.rigid.map((weight, index) => [weight, index]).filter(([weight]) => weight > 0);
  const total = used.reduce((sum, [weight]) => sum + weight, 0);
  const source = (index) => template.mean[index];
  const target = (index) => [landmarks[index][0], -landmarks[index][1], -landmarks[index][2]];
  const middle = (points) => [0, 1, 2].map((k) => used.reduce((sum, [w, i]) => sum + w * points(i)[k], 0) / total);
  const sourceMiddle = middle(source), targetMiddle = middle(target);
  const S = [[0, 0, 0], [0, 0, 0], [0, 0, 0]];
  let spread = 0;
  for (const [weight, index] of used) {
    const a = source(index).map((value, k) => value - sourceMiddle[k]);
    const b = target(index).map((value, k) => value - targetMiddle[k]);
    for (let i = 0; i < 3; i++) {
      spread += weight * a[i] * a[i];
      for (let j = 0; j < 3; j++) S[i][j] += weight * a[i] * b[j];
    }
  }
  const quaternion = bestRotation(S);
  const R = matrixOf(quaternion);
  let along = 0;
  for (let i = 0; i < 3; i++) for (let j = 0; j < 3; j++) along += S[i][j] * R[j][i];
  const scale = along / spread;
  const turned = R.map((row) => row.reduce((sum, value, k) => sum + value * sourceMiddle[k], 0));
  const centre = [targetMiddle[0] - scale * turned[0], -(targetMiddle[1] - scale * turned[1])];
  return { quaternion, scale, centre, roll: degrees(Math.atan2(R[0][1], R[1][1])) };
}

/** Horn's closed form: the rotation that takes one set of points nearest to another, of their products S[i][j]. */
function bestRotation(S) {
  const [[xx, xy, xz], [yx, yy, yz], [zx, zy, zz]] = S;
  const N = [
    [xx + yy + zz, yz - zy, zx - xz, xy - yx],
    [yz - zy, xx - yy - zz, xy + yx, zx + xz],
    [zx - xz, xy + yx, yy - xx - zz, yz + zy],
    [xy - yx, zx + xz, yz + zy, zz - xx - yy],
  ];
  const [w, x, y, z] = largestEigenvector(N);
  return w < 0 ? [-x, -y, -z, -w] : [x, y, z, w];
}

/** Of a symmetric matrix, which is used up; Jacobi's rotations. */
function largestEigenvector(A) {
  const size = A.length;
  const V = A.map((_, i) => A.map((_, j) => Number(i === j)));
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    for (let p = 0; p < size; p++) {
      for (let q = p + 1; q < size; q++) {
        if (A[p][q] === 0) continue;
        const angle = 0.5 * Math.atan2(2 * A[p][q], A[q][q] - A[p][p]);
        const c = Math.cos(angle), s = Math.sin(angle);
        for (let k = 0; k < size; k++) [A[k][p], A[k][q]] = [c * A[k][p] - s * A[k][q], s * A[k][p] + c * A[k][q]];
        for (let k = 0; k < size; k++) [A[p][k], A[q][k]] = [c * A[p][k] - s * A[q][k], s * A[p][k] + c * A[q][k]];
        for (let k = 0; k < size; k++) [V[k][p], V[k][q]] = [c * V[k][p] - s * V[k][q], s * V[k][p] + c * V[k][q]];
      }
    }
  }
  const values = A.map((row, i) => row[i]);
  const best = values.indexOf(Math.max(...values));
  return V.map((row) => row[best]);
}

/** The rotation matrix, head -> camera, of a quaternion. */
export function matrixOf([x, y, z, w]) {
  return [
    [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
    [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
    [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
  ];
}

/** Yaw, pitch and roll in degrees: to the picture's right, up, clockwise. */
export function anglesOf(quaternion) {
  const R = matrixOf(quaternion);
  const pitch = Math.asin(Math.max(-1, Math.min(1, -R[2][1])));
  return [Math.atan2(-R[2][0], R[2][2]), pitch, Math.atan2(R[0][1], R[1][1])].map(degrees);
}

/** The inverse of `anglesOf`: yaw is applied first. */
export function quaternionOf(yaw, pitch = 0, roll = 0) {
  return multiply(turn(2, -roll), multiply(turn(0, -pitch), turn(1, yaw)));
}

/** A turn about x, y or z (0, 1, 2) by degrees, counter-clockwise seen from the axis' tip. */
export function turn(axis, angle) {
  const half = (angle * Math.PI) / 360;
  const quaternion = [0, 0, 0, Math.cos(half)];
  quaternion[axis] = Math.sin(half);
  return quaternion;
}

/** First b, then a. */
export function multiply([ax, ay, az, aw], [bx, by, bz, bw]) {
  return [
    aw * bx + ax * bw + ay * bz - az * by,
    aw * by - ax * bz + ay * bw + az * bx,
    aw * bz + ax * by - ay * bx + az * bw,
    aw * bw - ax * bx - ay * by - az * bz,
  ];
}

/** The turn back. */
export const inverse = ([x, y, z, w]) => [-x, -y, -z, w];

/** The rotation vector in radians, the short way round. */
export function vectorOf([x, y, z, w]) {
  const sign = w < 0 ? -1 : 1;
  const sine = Math.hypot(x, y, z);
  const share = sine < 1e-9 ? 2 : (2 * Math.atan2(sine, Math.abs(w))) / sine;
  return [x, y, z].map((value) => sign * share * value);
}

/** The inverse of `vectorOf`. */
export function quaternionOfVector(vector) {
  const angle = Math.hypot(...vector);
  const share = angle < 1e-9 ? 0.5 : Math.sin(angle / 2) / angle;
  return [...vector.map((value) => share * value), Math.cos(angle / 2)];
}

/**
 * The similarity that fits a square of a picture into a view; (a, b, e, f) maps (x, y) to (a x - b y + e, b x + a y + f).
 * @param {number[]} centre - Middle of the square in the picture.
 * @param {number} halfSide - Of the square, in pixels of the picture.
 * @param {number} size - Side of the view.
 * @param {number} roll - Degrees; a head that is rolled clockwise by so much stands upright in the view.
 */
export function framing(centre, halfSide, size, roll = 0) {
  const scale = size / 2 / halfSide, angle = (-roll * Math.PI) / 180;
  const a = scale * Math.cos(angle), b = scale * Math.sin(angle);
  return { a, b, e: size / 2 - (a * centre[0] - b * centre[1]), f: size / 2 - (b * centre[0] + a * centre[1]) };
}

/** A place of the view, in the picture. */
export function backFrom({ a, b, e, f }, [x, y]) {
  const square = a * a + b * b;
  return [(a * (x - e) + b * (y - f)) / square, (a * (y - f) - b * (x - e)) / square];
}

const degrees = (radians) => (radians * 180) / Math.PI;
