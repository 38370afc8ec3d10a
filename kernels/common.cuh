// What the kernels share. REAL is the type of a compilation: float, or double for checks.
typedef REAL real;

// A block's shared memory, so that an executor on the host can put its own in its place.
#ifndef SHARED
#define SHARED(type, name, count) __shared__ type name[count]
#endif
