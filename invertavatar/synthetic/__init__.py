"""Dressed synthetic heads, made of MakeHuman's CC0 data: pictures of people whose geometry is known exactly.

`person` puts a random head, `expressions`, `wardrobe`, `glasses` and `colours` together; `views` and `light` say how it
is seen; `scene` draws it before one of the `backdrops`, shaded by `shading`.
"""
