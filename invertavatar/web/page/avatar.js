// The avatar in three dimensions: a .glb with 52 morph targets named as ARKit's and joints for neck and head.

import * as THREE from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

import { Blend } from "./blend.js";
import { blended, STILL } from "./motion.js";
import { quaternionOfVector, vectorOf } from "./pose.js";

const GLIDE = 0.025; // seconds in which what is shown covers two thirds of the way to what is wanted
const SETTLED = 1e-3; // of a score, and of a rotation in radians
const FIELD_OF_VIEW = 20; // degrees; the pictures of the package are seen from far away
const BELOW = 0.9; // of what is above the head's joint, that is shown below it
const MARGIN = 0.12; // above the head, of what is shown
const NARROWEST = 0.95; // width over height of a canvas, in which the shoulders fit
const SLOW = 1 / 32; // seconds between frames, beyond which fewer pixels are drawn
const FEWEST_PIXELS = 0.5; // of a canvas' own, along each side
const EDGE = 0.15, ASLANT = 0.3, SQUARELY = 0.45; // cosines from which on a veil is whole, thins out, is gone

/** The avatar on a canvas. */
export class Avatar {
  /**
   * @param {HTMLCanvasElement} canvas - Drawn into at the size that the page gives it.
   * @param {object} settings - The page's.
   * @throws {Error} Where the browser has no WebGL.
   */
  constructor(canvas, settings) {
    this.canvas = canvas;
    this.settings = settings;
    const software = isSoftware();
    this.renderer = new THREE.WebGLRenderer({ canvas, alpha: true, antialias: !software });
    this.renderer.outputColorSpace = THREE.LinearSRGBColorSpace; // no light, no conversions
    this.software = software;
    this.sharpness = software ? 1 : Math.min(2, devicePixelRatio);
    this.scene = new THREE.Scene();
    this.camera = new THREE.PerspectiveCamera(FIELD_OF_VIEW, 1, 0.01, 20);
    this.orbit = new OrbitControls(this.camera, canvas);
    this.orbit.enablePan = false;
    this.orbit.addEventListener("change", () => (this.dirty = true));
    this.rest = { scores: settings.names.map(() => 0), quaternion: STILL };
    this.dirty = true;
    new ResizeObserver(() => this.fit()).observe(canvas);
  }

  /** Fetches the head and shows it. */
  async load(address, progress) {
    const { scene, asset } = await new GLTFLoader().loadAsync(address, progress);
    const { rest, light, most = 0 } = asset.extras?.invertavatar ?? {};
    if (rest) this.rest = { scores: rest.expression, quaternion: STILL }; // the first photo's expression, looking ahead
    this.pose = this.wanted = this.rest;
    this.blends = [];
    scene.traverse((part) => {
      if (!part.isMesh) return;
      part.material = asPhotographed(part.material, light, most, this.software);
      part.frustumCulled = false; // its bounds are those of the head at rest
      if (part.morphTargetDictionary) this.blends.push(new Blend(part, this.settings.names));
    });
    this.joints = this.settings.neck.map((name) => scene.getObjectByName(name)).filter(Boolean);
    this.scene.add(scene);
    const bounds = new THREE.Box3().setFromObject(scene, true);
    this.bounds = bounds;
    this.fit();
    this.lookFromFront();
  }

  /** The camera back to where it began. */
  lookFromFront() {
    const head = this.scene.getObjectByName("head"), place = new THREE.Vector3();
    const { min, max } = this.bounds;
    if (head) head.getWorldPosition(place);
    else place.set(0, (min.y + max.y) / 2, 0);
    const top = max.y, bottom = Math.max(min.y, place.y - BELOW * (top - place.y));
    const height = (1 + MARGIN) * (top - bottom) * Math.max(1, NARROWEST / this.camera.aspect);
    const middle = bottom + height / 2; // what is left is above the head
    const distance = height / 2 / Math.tan((FIELD_OF_VIEW * Math.PI) / 360);
    this.orbit.target.set(0, middle, place.z);
    this.camera.position.set(0, middle, place.z + distance);
    this.orbit.minDistance = distance / 4;
    this.orbit.maxDistance = 3 * distance;
    this.orbit.update();
    this.dirty = true;
  }

  /** Sets what is shown next: 52 scores, and the head's turn against the body. */
  show(pose) {
    this.wanted = pose;
  }

  /** Draws a frame if anything has changed; tells whether it did. */
  draw(dt) {
    if (!this.blends) return false;
    const changed = this.glide(dt) || this.dirty;
    if (!changed) return false;
    this.dirty = false;
    for (const blend of this.blends) blend.apply(this.pose.scores);
    const share = vectorOf(this.pose.quaternion).map((value) => value / this.joints.length);
    for (const joint of this.joints) joint.quaternion.set(...quaternionOfVector(share));
    this.renderer.render(this.scene, this.camera);
    this.adapt(dt);
    return true;
  }

  /** The canvas' pixels to its size on the page. */
  fit() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    this.renderer.setPixelRatio(this.sharpness);
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    this.dirty = true;
  }

  /** What is shown, on its way to what is wanted; tells whether it is still under way. */
  glide(dt) {
    const { scores, quaternion } = this.wanted;
    const share = 1 - Math.exp(-dt / GLIDE);
    const far = scores.some((score, k) => Math.abs(score - this.pose.scores[k]) > SETTLED);
    const next = blended(this.pose.quaternion, quaternion, share);
    const turned = Math.hypot(...next.map((value, k) => value - this.pose.quaternion[k])) > SETTLED / 2;
    if (!far && !turned) return false;
    this.pose = {
      scores: this.pose.scores.map((score, k) => score + share * (scores[k] - score)),
      quaternion: next,
    };
    return true;
  }

  /** Draws fewer pixels where frames come too slowly. */
  adapt(dt) {
    this.pace = 0.95 * (this.pace ?? 0) + 0.05 * Math.min(dt, 0.2);
    if (this.pace < SLOW || this.sharpness <= FEWEST_PIXELS) return;
    this.sharpness = Math.max(FEWEST_PIXELS, 0.8 * this.sharpness);
    this.pace = 0;
    this.fit();
  }
}

/** How much is left of a veil, as `baking/fast_numba.py` has it: squarely before what it covers it would but blur it. */
function thinned(facing) {
  return `smoothstep(0.0, float(${EDGE}), ${facing}) * (1.0 - smoothstep(float(${ASLANT}), float(${SQUARELY}), ${facing}))`;
}

/**
 * The material in the photos' own light, which stays where the viewer is while the head turns, as `BakedAvatar.frame` has
 * it; without one, as it is. No lamp of the scene adds to it, and colours come out as they lie in the texture.
 */
function asPhotographed({ map, side, transparent, alphaTest, depthWrite, vertexColors }, light, most, software) {
  if (map) map.colorSpace = THREE.NoColorSpace;
  if (map && software) map.minFilter = THREE.LinearMipmapNearestFilter;
  // What is seen from behind is half of the work, and of a whole head nothing to see.
  if (software && !transparent && !alphaTest) side = THREE.FrontSide;
  const material = new THREE.MeshBasicMaterial({ map, side, transparent, alphaTest, depthWrite, vertexColors });
  if (!light) return material;
  const even = (2 / 3) * light[2]; // the texture is in the mean light of all that faces the viewer
  const gain = `exp(clamp(dot(normalize(transformedNormal), vec3(${light})) - float(${even}), -float(${most}), float(${most})))`;
  const thin = transparent ? thinned("normalize(transformedNormal).z") : "1.0";
  material.onBeforeCompile = (shader) => {
    shader.vertexShader = `varying vec2 gain;\n${shader.vertexShader.replace(
      "#include <project_vertex>", `#include <project_vertex>\n  gain = vec2(${gain}, ${thin});`)}`;
    shader.fragmentShader = `varying vec2 gain;\n${shader.fragmentShader.replace(
      "#include <map_fragment>", "#include <map_fragment>\n  diffuseColor *= vec4(gain.xxx, gain.y);")}`;
  };
  return material;
}

/** Whether WebGL is drawn by the processor. */
function isSoftware() {
  const context = document.createElement("canvas").getContext("webgl2");
  if (!context) throw new Error("This browser shows no WebGL; switch on its hardware acceleration, or take another browser.");
  const info = context.getExtension("WEBGL_debug_renderer_info");
  const name = info ? context.getParameter(info.UNMASKED_RENDERER_WEBGL) : "";
  context.getExtension("WEBGL_lose_context")?.loseContext();
  return /swiftshader|llvmpipe|software|basic render/i.test(name);
}
