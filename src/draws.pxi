# draws.pxi: random bits straight from NumPy's generators. Part of _engine.pyx.

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport uint32_t, uint64_t

cdef extern from "numpy/random/bitgen.h":  # what NumPy's capsules hold: stable, and for use from C
    ctypedef struct bitgen_t:
        void *state
        uint32_t (*next_uint32)(void *) noexcept nogil


def draw(generator, tuple shape, uint64_t limit):
    """An array of bool: which of as many draws of 32 bits are at least `limit`; the bits are those of ``generator.integers``."""
    cdef cnp.ndarray mask = empty(shape, cnp.PyArray_DescrFromType(cnp.NPY_BOOL))
    cdef unsigned char *kept = <unsigned char *> cnp.PyArray_DATA(mask)
    cdef Py_ssize_t i, size = cnp.PyArray_SIZE(mask)
    source = generator.bit_generator
    cdef bitgen_t *bits = <bitgen_t *> PyCapsule_GetPointer(source.capsule, "BitGenerator")
    with source.lock, nogil:
        for i in range(size):
            kept[i] = bits.next_uint32(bits.state) >= limit
    return mask
