/* isa.h: compiles template.h for both dtypes and exports the table of one instruction set. The including .c file, which is
 * compiled with that set's flags, defines FC_ISA (a suffix) and FC_ISA_NAME. */
#include <string.h>
#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "geometry.h"
#include "table.h"

#define FC_CAT_(a, b) a##_##b
#define FC_CAT(a, b) FC_CAT_(a, b)

#define FN(name) FC_CAT(name, f32)
#define real float
#define FC_REAL_BITS 32
#include "template.h"
#undef FN
#undef real
#undef FC_REAL_BITS

#define FN(name) FC_CAT(name, f64)
#define real double
#define FC_REAL_BITS 64
#include "template.h"
#undef FN
#undef real
#undef FC_REAL_BITS

#define FC_ALGORITHM(name) &FC_CAT(name, f32),
static const fc_algorithm *const list_f32[] = {
#include "algorithms.inc"
    NULL};
#undef FC_ALGORITHM
#define FC_ALGORITHM(name) &FC_CAT(name, f64),
static const fc_algorithm *const list_f64[] = {
#include "algorithms.inc"
    NULL};
#undef FC_ALGORITHM

const fc_table FC_CAT(fc_table, FC_ISA) = {FC_ISA_NAME, {list_f32, list_f64}, {peak_f32, peak_f64}};
