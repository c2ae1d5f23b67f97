"""Run by a Python that has bpy: `open_in_blender.py FILE.glb OUTPUT.npz JOINT DEGREES`.

Opens the file, moves one shape key after another to 1, then turns JOINT about glTF's x axis, and keeps where the
vertices are each time, [N, 3] in glTF's axes: `neutral`, `key NAME`, `turned`; also `bones` and their `parents`.
"""

import math
import sys

import bpy
import numpy as np
from mathutils import Matrix

source, output, joint, degrees = sys.argv[-4:]
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.gltf(filepath=source)
mesh = next(thing for thing in bpy.data.objects if thing.type == "MESH" and thing.data.shape_keys)
armature = next(thing for thing in bpy.data.objects if thing.type == "ARMATURE")


def places() -> np.ndarray:
    bpy.context.view_layer.update()
    evaluated = mesh.evaluated_get(bpy.context.evaluated_depsgraph_get())
    x, y, z = np.array([evaluated.matrix_world @ vertex.co for vertex in evaluated.data.vertices]).T
    return np.stack([x, z, -y], 1)  # Blender has z up and looks along y


kept = {"neutral": places()}
for key in mesh.data.shape_keys.key_blocks[1:]:  # the first is the neutral
    key.value = 1
    kept[f"key {key.name}"] = places()
    key.value = 0
bone = armature.pose.bones[joint]
about = Matrix.Translation(bone.head)
bone.matrix = about @ Matrix.Rotation(math.radians(float(degrees)), 4, "X") @ about.inverted() @ bone.matrix
kept["turned"] = places()
bones = armature.data.bones
kept["bones"] = np.array([each.name for each in bones])
kept["parents"] = np.array([each.parent.name if each.parent else "" for each in bones])
np.savez(output, **kept)
