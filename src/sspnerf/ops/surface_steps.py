"""How every implementation of `ops.band.hit_surface` walks to the surface."""

FIXED_POINT_STEPS = 4
# All but the first step go this part of the way: whole ones swing to and back where it is steep.
DAMPING = 0.7
# A ray that runs along the face never meets its plane: it is looked at as slightly inclined.
LEAST_SLOPE = -0.2
