# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The driver: runs the stages of a plan over OpenMP threads, owns their memory, turns failures into exceptions.

It knows nothing of convolution, of dtypes or of vectors. Tasks lie in a queue, stage after stage; every thread of a parallel
region takes from it until it is empty or the slice of time is over. Between slices the calling thread, outside the region, takes
the GIL and looks for signals. Scratch and workspace are checked out per call, so any number of Python threads, and a
signal handler, may be inside at once; the pool itself is touched only with the GIL held.
"""

from math import prod

import numpy

from cython.parallel cimport parallel, threadid
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset, strcpy
cimport numpy as cnp

cnp.import_array()

cdef extern from "fastconv.h":
    enum: FC_DIMS
    enum: FC_RANK
    enum: FC_MAX_ARRAYS
    enum: FC_SCRATCH_HEAD
    ctypedef enum fc_dtype:
        pass
    ctypedef enum fc_op:
        FC_CONV, FC_CONV_INPUT_GRAD, FC_CONV_WEIGHT_GRAD, FC_MATMUL, FC_MAX_POOL, FC_MAX_POOL_GRAD, FC_MAX_UNPOOL
        FC_AVG_POOL, FC_AVG_POOL_GRAD, FC_UNFOLD, FC_FOLD, FC_CHANNEL_SUM, FC_FILTER, FC_ELEMENTWISE, FC_OPTIMIZE
        FC_LOCAL, FC_LOCAL_INPUT_GRAD, FC_LOCAL_WEIGHT_GRAD, FC_LOSS, FC_LOSS_SUM
        FC_SOFTMAX_LINES, FC_CLASSES_LOSS, FC_OPS
    ctypedef enum fc_isa:
        FC_ISAS
    ctypedef enum fc_mode:
        FC_RUN, FC_PACK, FC_RUN_PACKED
    enum:
        FC_ADAPTIVE
        FC_COUNT_INCLUDE_PAD
    ctypedef struct fc_axis:
        int64_t in_ "in"
        int64_t out, kernel, stride, dilation, pad, pad_hi
    ctypedef struct fc_problem:
        fc_op op
        fc_dtype dtype
        int64_t batch, groups, in_channels, out_channels
        fc_axis axis[3]
        int64_t tile[3]
        int flags
        double divisor, slope
    ctypedef struct fc_array:
        char *data
        Py_ssize_t stride[5]
    ctypedef struct fc_call:
        fc_array array[4]
        char *extra
        char *workspace
        char *packed
        fc_mode mode
        int failed
    ctypedef struct fc_algorithm:
        const char *name
        const char *isa
        unsigned ops
        const char *(*prepare)(fc_plan *) noexcept nogil
        Py_ssize_t (*tasks)(const fc_plan *, fc_mode, Py_ssize_t, Py_ssize_t *) noexcept nogil
    ctypedef struct fc_plan:
        fc_problem problem
        const fc_algorithm *algorithm
        Py_ssize_t stages
        int64_t workspace, workspace_packed, scratch, packed
        double cost
    const char *fc_isa_name(fc_isa)
    bint fc_isa_compiled(fc_isa)
    bint fc_isa_supported(fc_isa)
    const fc_algorithm *fc_algorithm_at(fc_isa, fc_dtype, int)
    double fc_peak_kernel(fc_isa, fc_dtype, int64_t) noexcept nogil
    const char *fc_compiler()
    const char *fc_openmp()
    const char *fc_flags()

cdef extern from "driver.h":
    ctypedef struct fc_work:
        double deadline
        int stopped
    double fc_now() noexcept nogil
    void *fc_allocate(size_t) noexcept nogil
    void fc_advise(void *, size_t) noexcept nogil
    void fc_free(void *) noexcept nogil
    int fc_threads_possible(int) noexcept nogil
    enum: FC_SET_ISA
    enum: FC_SET_PRECISION
    enum: FC_SET_THREADS
    int fc_common[3]
    int *fc_own() noexcept nogil
    int fc_setting(int) noexcept nogil
    void fc_run_all(const fc_plan *, fc_call *, char *) noexcept nogil
    void fc_begin(fc_work *, const fc_plan *, fc_mode, int64_t) noexcept nogil
    int64_t fc_stage(const fc_work *) noexcept nogil
    void fc_drain(fc_work *, const fc_plan *, fc_call *, char *) noexcept nogil

# ------------------------------------------------------------------------------------------------ memory

include "memory.pxi"

cdef double SLICE = 0.05           # seconds between looks for signals
cdef double SERIAL_COST = 1e6      # multiply-adds (some 20 us) below which regions and clocks cost more than they give

cdef bint forked = False           # in a forked child the parent's OpenMP threads do not exist


def after_fork_in_child():
    """OpenMP's threads stayed in the parent, and its pool would wait for them for ever: compute on one thread."""
    global forked
    forked = True


def is_forked():
    """Whether this process was forked after fastconv was imported."""
    return forked

# ------------------------------------------------------------------------------------------------ settings


ISA, PRECISION, THREADS = FC_SET_ISA, FC_SET_PRECISION, FC_SET_THREADS


def setting(int which):
    """A setting of a call made now: the calling thread's own, else the process's."""
    return fc_setting(which)


def own_setting(int which):
    """The calling thread's own setting, negative where it has none."""
    return fc_own()[which]


def set_common(int which, int value):
    """Changes a setting of the process."""
    fc_common[which] = value


def set_own(int which, int value):
    """Changes the calling thread's own setting; negative: none."""
    fc_own()[which] = value

# ------------------------------------------------------------------------------------------------ plans

include "calls.pxi"
include "draws.pxi"


class Unsupported(ValueError):
    """The named algorithm does not do this problem; the text says why."""


cdef enum: RANK = 64  # axes of an array, at most: NumPy's limit

cdef class Packed:
    """Weights packed for one plan."""
    cdef Block block
    cdef object plan

    def __dealloc__(self):
        if self.block.data != NULL:
            fc_free(self.block.data)


cdef class Plan:
    """An immutable recipe: algorithm, block sizes, stages. `run` may be called by many threads at once.

    ``axes`` are (in, out, kernel, stride, dilation, pad_lo, pad_hi) for D, H, W; ``slots`` gives for each operand the place
    in N C D H W of each of its array's axes, or -1 for an axis of length 1 that has none. Operands of a matrix product have
    ``inner`` elements a row: a C-contiguous array of any shape is then cut into such rows. ``shape`` is the result's,
    ``tile`` the numbers of kernels that local connection uses in turn along D, H, W.
    """
    cdef fc_plan plan
    cdef int ndim[FC_MAX_ARRAYS]
    cdef int slot[FC_MAX_ARRAYS][8]
    cdef Py_ssize_t inner[FC_MAX_ARRAYS]
    cdef int rank
    cdef cnp.npy_intp shape[RANK]
    cdef bint aligned

    def __init__(self, int op, int dtype, batch, groups, in_channels, out_channels, axes, slots, str algorithm, int isa,
                 double cost, int flags=0, double divisor=0.0, tuple shape=(), tuple inner=(0, 0, 0, 0), double slope=0.0,
                 tuple tile=(0, 0, 0)):
        cdef fc_problem *p = &self.plan.problem
        cdef int i, j
        cdef const fc_algorithm *a
        cdef bytes name = algorithm.encode()
        p.op = <fc_op> op
        p.dtype = <fc_dtype> dtype
        p.batch, p.groups, p.in_channels, p.out_channels = batch, groups, in_channels, out_channels
        p.flags, p.divisor, p.slope = flags, divisor, slope
        for i in range(FC_DIMS):
            set_axis(&p.axis[i], axes[i])
            p.tile[i] = tile[i]
        for i in range(FC_MAX_ARRAYS):
            self.ndim[i] = len(slots[i])
            if self.ndim[i] > 8:
                raise ValueError("fastconv: an operand has at most 8 axes")
            for j in range(self.ndim[i]):
                self.slot[i][j] = slots[i][j]
            self.inner[i] = inner[i]
        self.rank = len(shape)
        if self.rank > RANK:
            raise ValueError("fastconv: a result has at most 64 axes")
        for i in range(self.rank):
            self.shape[i] = shape[i]
        self.aligned = prod(shape) * (8 if dtype else 4) >= ALIGNED
        i = 0
        while True:
            a = fc_algorithm_at(<fc_isa> isa, <fc_dtype> dtype, i)
            if a == NULL:
                raise Unsupported(f"algorithm {algorithm!r} does not exist for this operator")
            if a.name == name and a.ops >> op & 1:
                break
            i += 1
        self.plan.algorithm = a
        self.plan.cost = cost
        cdef const char *reason = a.prepare(&self.plan)
        if reason != NULL:
            raise Unsupported(f"algorithm {algorithm!r} takes only {reason.decode()}")

    @property
    def algorithm(self):
        """Name of the algorithm."""
        return self.plan.algorithm.name.decode()

    @property
    def isa(self):
        """Name of the instruction set."""
        return self.plan.algorithm.isa.decode()

    @property
    def workspace_bytes(self):
        """Memory shared by the threads of a call."""
        return self.plan.workspace

    @property
    def scratch_bytes(self):
        """Memory of each thread of a call."""
        return self.plan.scratch

    @property
    def packed_bytes(self):
        """Packed weights that a frozen layer keeps."""
        return self.plan.packed

    @property
    def tasks(self):
        """Number of tasks of each stage."""
        cdef Py_ssize_t grain, s
        return tuple(self.plan.algorithm.tasks(&self.plan, FC_RUN, s, &grain) for s in range(self.plan.stages))

    cdef int bind(self, fc_array *to, int i, object value) except -1:
        """Address and strides of operand i, in elements and in N C D H W order."""
        cdef cnp.ndarray array
        cdef int axis
        cdef Py_ssize_t itemsize
        memset(to, 0, sizeof(fc_array))
        if value is None:
            return 0
        array = value
        if self.inner[i] and cnp.PyArray_IS_C_CONTIGUOUS(array):
            to.data = <char *> cnp.PyArray_DATA(array)
            to.stride[self.slot[i][0]] = self.inner[i]
            to.stride[self.slot[i][1]] = 1
            return 0
        if cnp.PyArray_NDIM(array) != self.ndim[i]:
            raise ValueError(f"fastconv: operand {i} has {cnp.PyArray_NDIM(array)} axes, its plan {self.ndim[i]}")
        itemsize = cnp.PyArray_ITEMSIZE(array)
        to.data = <char *> cnp.PyArray_DATA(array)
        for axis in range(self.ndim[i]):
            if self.slot[i][axis] >= 0:
                to.stride[self.slot[i][axis]] = cnp.PyArray_STRIDE(array, axis) // itemsize
        return 0

    def run(self, a, b, c, d, int threads, Packed packed=None, cnp.ndarray extra=None):
        """Computes operand d from a, b, c on at most `threads` threads. False if a task refused its data.

        A fifth operand, `extra`, lies without gaps; some operators read it, write to it, or both.
        """
        return self.start(a, b, c, d, threads, packed, extra)

    def compute(self, a, b, c, Packed packed=None, cnp.ndarray extra=None):
        """The result for operands a, b, c in a new array, on the threads that are set. None if a task refused its data."""
        if self.rank == 0:
            raise ValueError("fastconv: this plan was not told the shape of its result")
        cdef int kind = cnp.NPY_DOUBLE if self.plan.problem.dtype else cnp.NPY_FLOAT
        result = new_result(self.rank, self.shape, kind, self.aligned)
        return result if self.start(a, b, c, result, fc_setting(FC_SET_THREADS), packed, extra) else None

    cdef bint start(self, a, b, c, d, int threads, Packed packed, cnp.ndarray extra) except -1:
        cdef fc_call call
        self.bind(&call.array[0], 0, a)
        self.bind(&call.array[1], 1, b)
        self.bind(&call.array[2], 2, c)
        self.bind(&call.array[3], 3, d)
        call.extra = NULL if extra is None else <char *> cnp.PyArray_DATA(extra)
        call.failed = 0
        call.mode = FC_RUN
        call.packed = NULL
        if packed is not None:
            if packed.plan is not self:
                raise ValueError("fastconv: these weights were packed for another plan")
            call.mode = FC_RUN_PACKED
            call.packed = packed.block.data
        if threads < 1 or forked or self.plan.cost < SERIAL_COST:
            threads = 1
        self.execute(&call, threads)
        return call.failed == 0

    def pack(self, weight, int threads):
        """The weights as this plan packs them, or None if it packs nothing."""
        cdef fc_call call
        cdef Packed packed
        if self.plan.packed == 0:
            return None
        packed = Packed()
        packed.plan = self
        packed.block.size = self.plan.packed
        packed.block.data = <char *> fc_allocate(self.plan.packed)
        if packed.block.data == NULL:
            raise MemoryError(f"fastconv: {self.plan.packed} bytes for packed weights cannot be had")
        memset(&call, 0, sizeof(call))
        self.bind(&call.array[1], 1, weight)
        call.mode = FC_PACK
        call.packed = packed.block.data
        self.execute(&call, 1 if forked else threads)
        return packed

    cdef int execute(self, fc_call *call, int threads) except -1:
        cdef size_t scratch = (self.plan.scratch + 63) // 64 * 64
        cdef size_t workspace = 0
        if call.mode != FC_PACK:
            workspace = self.plan.workspace if call.mode == FC_RUN else self.plan.workspace_packed
            workspace = (workspace + 63) // 64 * 64
        cdef Block block
        cdef int team = 1
        if threads > 1:
            team = fc_threads_possible(threads)
            threads = self.useful(call.mode, team)
        block = checkout(workspace + scratch * <size_t> threads + 64)
        call.workspace = block.data
        if self.plan.cost < SERIAL_COST:
            with nogil:
                fc_run_all(&self.plan, call, block.data + workspace)
            give_back(block)
            return 0
        try:
            self.stages(call, threads, team, block.data + workspace, scratch)
        finally:
            give_back(block)
        return 0

    cdef int useful(self, fc_mode mode, int threads) noexcept:
        """No more threads than the fullest stage has portions of tasks."""
        cdef Py_ssize_t s, grain = 1, n, most = 1
        for s in range(self.plan.stages):
            n = self.plan.algorithm.tasks(&self.plan, mode, s, &grain)
            most = max(most, (n + grain - 1) // grain)
        return threads if threads < most else <int> most

    cdef int stages(self, fc_call *call, int threads, int team, char *scratch, size_t step) except -1:
        # The team is the same in every region, or libgomp would end the threads that a smaller one leaves over and make
        # them anew; those that no stage has a portion for return at once.
        cdef fc_work work
        cdef fc_plan *plan = &self.plan
        with nogil:
            fc_begin(&work, plan, call.mode, 0)
            while fc_stage(&work) < plan.stages:
                work.stopped = 0
                work.deadline = fc_now() + SLICE
                if threads > 1:
                    with parallel(num_threads=team):
                        if threadid() < threads:
                            fc_drain(&work, plan, call, scratch + <size_t> threadid() * step)
                else:
                    fc_drain(&work, plan, call, scratch)
                if work.stopped:
                    with gil:
                        PyErr_CheckSignals()
        return 0

# ------------------------------------------------------------------------------------------------ the machine


cdef int set_axis(fc_axis *a, object values) except -1:
    a.in_, a.out, a.kernel, a.stride, a.dilation, a.pad, a.pad_hi = values
    return 0


def isa_names():
    """Names of the instruction sets, weakest first, with (compiled, supported by this machine)."""
    cdef int i
    return {fc_isa_name(<fc_isa> i).decode(): (bool(fc_isa_compiled(<fc_isa> i)), bool(fc_isa_supported(<fc_isa> i)))
            for i in range(<int> FC_ISAS)}


def algorithms(int isa, int dtype):
    """(name, bit set of operators) of every algorithm in the list."""
    cdef int i = 0
    cdef const fc_algorithm *a
    found = []
    while True:
        a = fc_algorithm_at(<fc_isa> isa, <fc_dtype> dtype, i)
        if a == NULL:
            return found
        found.append((a.name.decode(), a.ops))
        i += 1


def build_info():
    """Compiler, its flags, and OpenMP version (``""`` when built without OpenMP)."""
    return {"compiler": fc_compiler().decode(), "flags": fc_flags().decode(), "openmp": fc_openmp().decode()}


def measure_peak(str dtype, double seconds, int threads, int isa):
    """The best FLOP/s of independent multiply-adds in registers, over rounds of about 10 ms."""
    cdef fc_dtype kind = <fc_dtype> (0 if dtype == "float32" else 1)
    cdef int64_t loops = 1000
    cdef double start, took, done, best = 0, end = fc_now() + seconds
    cdef int n = 1 if forked else fc_threads_possible(threads)
    with nogil:
        while True:
            start = fc_now()
            done = fc_peak_kernel(<fc_isa> isa, kind, loops)
            took = fc_now() - start
            if took > 5e-3:
                break
            loops *= 2
        loops *= 2
        while True:
            start = fc_now()
            if n > 1:
                with parallel(num_threads=n):
                    fc_peak_kernel(<fc_isa> isa, kind, loops)
            else:
                fc_peak_kernel(<fc_isa> isa, kind, loops)
            took = fc_now() - start
            best = max(best, 2 * n * done / took)  # `done` counts half of these loops, on one thread
            if fc_now() > end:
                break
    return best


def measure_bandwidth(double seconds, int threads):
    """The best bytes per second of copying blocks larger than the caches; read and written bytes both count."""
    cdef size_t size = <size_t> 64 << 20, part
    cdef int n = 1 if forked else fc_threads_possible(threads)
    cdef Block block = checkout(2 * size)
    cdef double start, took, best = 0, end
    part = size // <size_t> n
    with nogil:
        memset(block.data, 1, 2 * size)
        end = fc_now() + seconds
        while True:
            start = fc_now()
            if n > 1:
                with parallel(num_threads=n):
                    memcpy(block.data + <size_t> threadid() * part, block.data + size + <size_t> threadid() * part, part)
            else:
                memcpy(block.data, block.data + size, size)
            took = fc_now() - start
            best = max(best, 2 * <double> (part * <size_t> n) / took)
            if fc_now() > end:
                break
    give_back(block)
    return best
