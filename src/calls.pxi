# calls.pxi: calls that look like an earlier one. Part of _engine.pyx.
#
# What an operator does follows from the shapes and dtype of its operands, its options, the instruction set and the
# precision: that is a recipe, made once, when all of them are checked. A later call is found by the same description, as
# bytes, and computes at once; whatever is out of the ordinary (a subclass, a foreign byte order, gaps between elements)
# is not recognised and takes the long way, where the checks and their messages are.

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from libc.string cimport memcpy

cdef extern from "Python.h":
    PyObject *PyDict_GetItem(object, object)
    bint PyUnicode_IS_ASCII(object)
    Py_ssize_t PyUnicode_GET_LENGTH(object)
    const void *PyUnicode_1BYTE_DATA(object)
    long long PyLong_AsLongLongAndOverflow(object, int *) except? -1

cdef enum:
    KEY_WORDS = 128  # longest description
    TEXT_WORDS = 6   # longest word of an option: the name of the longest operator has 41 characters
    # What a part of the description is, so that no two different calls look alike.
    IS_NONE, IS_FALSE, IS_TRUE, IS_INT, IS_REAL, IS_TEXT, IS_TUPLE, IS_ARRAY, IS_ALIKE

cdef struct Key:
    int length
    int64_t word[KEY_WORDS]


cdef inline void put(Key *key, int64_t word) noexcept:
    key.word[key.length] = word
    key.length += 1


cdef class Alike:
    """Arrays among the options of a call, or None: their dtypes and shapes alone matter, neither values nor layout.

    An array that is an option by itself has no description: ``stride=np.array([2, 2])`` gives numbers.
    """
    cdef tuple arrays

    def __init__(self, *arrays):
        self.arrays = arrays


cdef bint describe_option(Key *key, object value) except -1:
    """Adds an option; False where it is of no exact type: 1, 1.0, True and np.int64(1) are equal, but not alike."""
    cdef int overflow
    cdef double real
    cdef Py_ssize_t length
    if key.length + 1 + TEXT_WORDS > KEY_WORDS:
        return False
    if type(value) is int:
        put(key, IS_INT)
        put(key, PyLong_AsLongLongAndOverflow(value, &overflow))
        return overflow == 0
    if type(value) is float:
        real = value
        put(key, IS_REAL)
        memcpy(&key.word[key.length], &real, sizeof(double))
        key.length += 1
        return True
    if type(value) is tuple:
        put(key, IS_TUPLE | len(<tuple> value) << 8)
        for item in <tuple> value:
            if not describe_option(key, item):
                return False
        return True
    if type(value) is str:
        length = PyUnicode_GET_LENGTH(value)
        if length > TEXT_WORDS * 8 or not PyUnicode_IS_ASCII(value):
            return False
        put(key, IS_TEXT | length << 8)
        memset(&key.word[key.length], 0, TEXT_WORDS * 8)
        memcpy(&key.word[key.length], PyUnicode_1BYTE_DATA(value), length)
        key.length += (length + 7) // 8
        return True
    if value is None or value is False or value is True:
        put(key, IS_NONE if value is None else IS_TRUE if value else IS_FALSE)
        return True
    if type(value) is Alike:
        put(key, IS_ALIKE | len((<Alike> value).arrays) << 8)
        for item in (<Alike> value).arrays:
            if (item is not None and type(item) is not cnp.ndarray) or not describe_operand(key, item):
                return False
        return True
    return False


cdef bint describe_operand(Key *key, object value) except -1:
    """Adds an operand: its dtype and shape."""
    cdef cnp.ndarray array
    cdef int axis
    if value is None:
        if key.length < KEY_WORDS:
            put(key, IS_NONE)
            return True
        return False
    array = value
    if key.length + 1 + cnp.PyArray_NDIM(array) > KEY_WORDS:
        return False
    put(key, IS_ARRAY | cnp.PyArray_NDIM(array) << 8 | cnp.PyArray_TYPE(array) << 16)
    for axis in range(cnp.PyArray_NDIM(array)):
        put(key, cnp.PyArray_DIM(array, axis))
    return True


cdef inline bint plain(object value, int kind):
    """Whether an operand is none, or an array without gaps of the native dtype numbered `kind`."""
    if value is None:
        return True
    if type(value) is not cnp.ndarray:
        return False
    return (cnp.PyArray_TYPE(<cnp.ndarray> value) == kind and cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray> value)
            and cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray> value))


def dense(value, int kind):
    """Whether an operand is an array without gaps of the native dtype numbered `kind`."""
    return value is not None and plain(value, kind)


cdef class Recipes:
    """A bounded cache of what operators do, found by how a call looks."""
    cdef readonly dict found
    cdef readonly Py_ssize_t limit

    def __init__(self, Py_ssize_t limit):
        self.found = {}
        self.limit = limit

    cdef bytes describe(self, str op, object a, object b, object c, tuple options):
        cdef Key key
        key.length = 0
        put(&key, fc_setting(FC_SET_ISA) | fc_setting(FC_SET_PRECISION) << 8)
        if not (describe_option(&key, op) and describe_operand(&key, a) and describe_operand(&key, b)
                and describe_operand(&key, c) and describe_option(&key, options)):
            return None
        return PyBytes_FromStringAndSize(<char *> key.word, key.length * sizeof(int64_t))

    def recall(self, str op, a, b, c, tuple options):
        """The recipe of an earlier call like this one; None if there was none, or if an operand is not plain."""
        cdef int kind
        cdef bytes key
        cdef PyObject *recipe
        if type(a) is not cnp.ndarray:
            return None
        kind = cnp.PyArray_TYPE(<cnp.ndarray> a)
        if (kind != cnp.NPY_FLOAT and kind != cnp.NPY_DOUBLE) or not (plain(a, kind) and plain(b, kind) and plain(c, kind)):
            return None
        key = self.describe(op, a, b, c, options)
        if key is None:
            return None
        recipe = PyDict_GetItem(self.found, key)
        return None if recipe == NULL else <object> recipe

    def key(self, str op, a, b, c, tuple options):
        """What a recipe is kept under, for arrays of any layout; None where an option is not of an exact type."""
        return self.describe(op, a, b, c, options)

    def keep(self, key, recipe):
        """Keeps a recipe; in a full cache the older half goes, since dicts remember the order of insertion."""
        if len(self.found) >= self.limit:
            for old in list(self.found)[:self.limit // 2]:
                self.found.pop(old, None)
        self.found[key] = recipe
