// Morph targets added up on the processor: a millisecond here, where a graphics card's program would go through all 52 of
// them for each corner of each triangle, which takes 60 where there is no graphics card.

/** The morph targets of one mesh, which it loses; afterwards `apply` moves its vertices. */
export class Blend {
  /**
   * @param {object} mesh - Of three.js, with a dictionary of morph targets.
   * @param {string[]} names - Of the targets, in the order of the scores.
   */
  constructor(mesh, names) {
    const { geometry, morphTargetDictionary } = mesh;
    this.place = geometry.attributes.position;
    this.neutral = this.place.array.slice();
    this.targets = names.map((name) => sparse(geometry.morphAttributes.position[morphTargetDictionary[name]]));
    geometry.morphAttributes = {};
    mesh.updateMorphTargets();
  }

  /** Moves the vertices by the scores. */
  apply(scores) {
    const place = this.place.array;
    place.set(this.neutral);
    this.targets.forEach(({ index, moved }, target) => {
      const score = scores[target];
      if (Math.abs(score) < 1e-4) return;
      for (let k = 0; k < index.length; k++) place[index[k]] += score * moved[k];
    });
    this.place.needsUpdate = true;
  }
}

/** The numbers of a target that move anything, and which they are. */
function sparse(target) {
  if (!target) return { index: [], moved: [] };
  const all = target.array, index = [];
  for (let k = 0; k < all.length; k++) if (Math.abs(all[k]) > 1e-7) index.push(k);
  return { index: Uint32Array.from(index), moved: Float32Array.from(index, (k) => all[k]) };
}
