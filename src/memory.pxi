# memory.pxi: blocks of memory that are kept between calls, for workspace and for large results. Part of _engine.pyx.
#
# The first touch of a page costs more than a convolution does with what lies on it, and the C library gives large blocks
# back to the system when they are freed. Blocks that calls have used wait here for the next call instead. Results come
# from here too, through NumPy's own interface for allocators (NEP 49): they own their data as any array does, and what
# is freed with an array is a block again. All of it is touched with the GIL held.

from cpython.pycapsule cimport PyCapsule_New

cdef extern from "numpy/arrayobject.h":  # NumPy 1.22; absent from the declarations of older Cythons
    ctypedef struct PyDataMemAllocator:
        void *ctx
        void *(*malloc)(void *, size_t) noexcept
        void *(*calloc)(void *, size_t, size_t) noexcept
        void *(*realloc)(void *, void *, size_t) noexcept
        void (*free)(void *, void *, size_t) noexcept
    ctypedef struct PyDataMem_Handler:
        char name[127]
        unsigned char version
        PyDataMemAllocator allocator
    object PyDataMem_SetHandler(object)

cdef enum:
    POOL_SLOTS = 64
    LINE = 64                      # bytes of a cache line
    ALIGNED = 64 << 10             # bytes from which on a result begins at one
    LARGE = 32 << 20               # and from which on it is a block: the most that the C library keeps by itself

cdef struct Block:
    char *data
    size_t size

cdef Block pool[POOL_SLOTS]        # free blocks, the one freed first in front
cdef int pool_count = 0
cdef size_t pool_bytes = 0
POOL_LIMIT = 256 << 20             # bytes kept between calls
cdef size_t pool_limit = POOL_LIMIT


cdef Block take_out(int i) noexcept:
    """The block in slot i of the pool, which closes up."""
    global pool_count, pool_bytes
    cdef Block block = pool[i]
    pool_count -= 1
    pool_bytes -= block.size
    memmove(&pool[i], &pool[i + 1], (pool_count - i) * sizeof(Block))
    return block


cdef Block find(size_t size, size_t most) noexcept:
    """The smallest block of the pool with `size` to `most` bytes, or a new one; its data is NULL if memory is short."""
    cdef int i, best = -1
    cdef Block block
    for i in range(pool_count):
        if size <= pool[i].size <= most and (best < 0 or pool[i].size < pool[best].size):
            best = i
    if best >= 0:
        return take_out(best)
    block.size = size
    block.data = <char *> fc_allocate(size)
    if block.data == NULL and pool_count:
        empty_pool()
        block.data = <char *> fc_allocate(size)
    return block


cdef Block checkout(size_t size) except *:
    """A block of at least `size` bytes for the time of a call, if it may be up to twice as large."""
    cdef Block block = find(size, 2 * size + (1 << 20))
    if block.data == NULL:
        raise MemoryError(f"fastconv: a workspace of {size} bytes cannot be had")
    return block


cdef void give_back(Block block) noexcept:
    """Keeps a block, in the place of those that have waited longest."""
    global pool_count, pool_bytes
    if block.size > pool_limit:
        fc_free(block.data)
        return
    while pool_count == POOL_SLOTS or pool_bytes + block.size > pool_limit:
        fc_free(take_out(0).data)
    pool[pool_count] = block
    pool_count += 1
    pool_bytes += block.size


cdef size_t empty_pool() noexcept:
    cdef size_t freed = pool_bytes
    while pool_count:
        fc_free(take_out(pool_count - 1).data)
    return freed


def release_memory():
    """Frees the memory that is kept between calls; returns the number of bytes."""
    return empty_pool()


# What NumPy calls for arrays made while the handler below is set, and for what becomes of them. Large ones are blocks; the others
# are the C library's, which keeps these itself, but begin at a cache line, which NumPy's own arrays never do.

cdef struct Head:                  # lies before a result's data
    Block block                    # its size is 0 where it is the C library's
    size_t size                    # of the data


cdef Head *head_of(void *data) noexcept:
    return <Head *> (<char *> data - sizeof(Head))


cdef void *new_data(void *context, size_t size) noexcept:
    cdef Block block
    cdef char *data
    if size > <size_t> -1 // 2:
        return NULL
    if size >= LARGE:
        block = find(size + LINE, size + size // 8 + LINE)
    else:
        block.data = <char *> malloc(size + LINE + sizeof(Head))
        block.size = 0
        if block.data != NULL:
            fc_advise(block.data, size)
    if block.data == NULL:
        return NULL
    data = block.data + sizeof(Head) + LINE - 1
    data -= <size_t> data % LINE
    head_of(data).block = block
    head_of(data).size = size
    return data


cdef void *new_zeros(void *context, size_t count, size_t size) noexcept:
    cdef void *data = NULL if size and count > <size_t> -1 // size else new_data(context, count * size)
    if data != NULL:
        memset(data, 0, count * size)
    return data


cdef void free_data(void *context, void *data, size_t size) noexcept:
    cdef Block block
    if data != NULL:
        block = head_of(data).block
        if block.size:
            give_back(block)
        else:
            free(block.data)


cdef void *resized_data(void *context, void *data, size_t size) noexcept:
    cdef void *moved = new_data(context, size)
    if moved != NULL and data != NULL:
        memcpy(moved, data, min(head_of(data).size, size))
        free_data(context, data, size)
    return moved


cdef PyDataMem_Handler handler_of_results
strcpy(handler_of_results.name, "fastconv")
handler_of_results.version = 1
handler_of_results.allocator = PyDataMemAllocator(NULL, new_data, new_zeros, resized_data, free_data)
cdef object handler = PyCapsule_New(&handler_of_results, "mem_handler", NULL)


cdef object new_result(int rank, cnp.npy_intp *shape, int kind, bint aligned):
    """A new array, not cleared."""
    before = PyDataMem_SetHandler(handler) if aligned else None
    try:
        return cnp.PyArray_EMPTY(rank, shape, kind, 0)
    finally:
        if aligned:
            PyDataMem_SetHandler(before)


def empty(tuple shape, cnp.dtype kind):
    """As numpy.empty, for results that are made before their plan is known."""
    if prod(shape) * kind.itemsize < ALIGNED:
        return numpy.empty(shape, kind)
    before = PyDataMem_SetHandler(handler)
    try:
        return numpy.empty(shape, kind)
    finally:
        PyDataMem_SetHandler(before)
