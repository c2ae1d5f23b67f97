// The sliders of a face: ARKit's names in groups, both sides together or each by itself, and well-known expressions.

import { quaternionOf } from "./pose.js";

/** Builds the sliders into the page. */
export class Sliders {
  /**
   * @param {HTMLElement} panel - The page's.
   * @param {object} settings - Groups, presets, and which slider follows which.
   * @param {() => void} moved - Called when one of them moves.
   */
  constructor(panel, settings, moved) {
    this.settings = settings;
    this.moved = moved;
    this.inputs = {};
    this.turns = [...panel.querySelectorAll(".turn")];
    this.together = panel.querySelector("#together");
    const groups = panel.querySelector("#groups");
    Object.entries(settings.groups).forEach(([group, names], index) => {
      const details = document.createElement("details");
      details.open = index === 0;
      details.append(Object.assign(document.createElement("summary"), { textContent: group }));
      for (const name of names) details.append(this.slider(name));
      groups.append(details);
    });
    for (const [name, scores] of Object.entries(settings.presets)) {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
      button.addEventListener("click", () => this.take(scores));
      panel.querySelector("#presets").append(button);
    }
    this.together.addEventListener("change", () => this.arrange());
    for (const turn of this.turns) turn.addEventListener("input", moved);
    this.arrange();
  }

  /** What they say. */
  get pose() {
    const values = Object.fromEntries(Object.entries(this.inputs).map(([name, input]) => [name, Number(input.value)]));
    if (this.together.checked) {
      for (const [right, left] of Object.entries(this.settings.followers)) values[right] = values[left];
    }
    const quaternion = quaternionOf(...this.turns.map((turn) => Number(turn.value)));
    return { scores: this.settings.names.map((name) => values[name] ?? 0), quaternion };
  }

  slider(name) {
    const label = Object.assign(document.createElement("label"), { className: "slider" });
    const input = Object.assign(document.createElement("input"), { type: "range", min: 0, max: 1, step: 0.01, value: 0, id: name });
    label.append(document.createElement("span"), document.createElement("output"), input);
    input.addEventListener("input", this.moved);
    this.inputs[name] = input;
    return label;
  }

  /** The sliders of an expression; each side by itself. */
  take(scores) {
    this.together.checked = false;
    for (const [name, input] of Object.entries(this.inputs)) {
      input.value = scores[name] ?? 0;
      input.dispatchEvent(new Event("input", { bubbles: true }));
    }
    this.arrange();
  }

  /** One slider for both sides of the face, or one for each. */
  arrange() {
    const together = this.together.checked, { followers } = this.settings;
    const leaders = new Set(Object.values(followers));
    for (const [name, input] of Object.entries(this.inputs)) {
      input.parentElement.hidden = together && name in followers;
      input.parentElement.firstChild.textContent = together && leaders.has(name) ? name.replace(/Left$/, "") : name;
    }
    this.moved();
  }
}
