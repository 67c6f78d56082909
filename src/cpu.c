/* cpu.c: what this machine can run, and the tables of the instruction sets that were compiled in. */
#include "table.h"

#if defined(__x86_64__) || defined(_M_X64)
#define FC_X86 1
#include <cpuid.h>
#endif

#ifdef _OPENMP
#include <omp.h>
#endif

#ifdef FC_X86
static uint64_t saved_registers(void) /* XCR0: which registers the operating system saves on a switch */
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static int x86_supports(fc_isa isa)
{
    unsigned a, b, c, d, b7 = 0, c7, d7;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return 0;
    if (!(c & bit_OSXSAVE) || !(c & bit_AVX))
        return 0;
    uint64_t os = saved_registers();
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d7))
        return 0;
    const uint64_t ymm = 0x6, zmm = 0xe6;
    int avx2 = (os & ymm) == ymm && (c & bit_FMA) && (b7 & bit_AVX2);
    if (isa == FC_AVX2)
        return avx2;
    const unsigned needed = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL;
    return avx2 && (os & zmm) == zmm && (b7 & needed) == needed;
}
#endif

const char *fc_isa_name(fc_isa isa)
{
    static const char *const names[FC_ISAS] = {"baseline", "avx2", "avx512"};
    return isa < FC_ISAS ? names[isa] : NULL;
}

static const fc_table *table_of(fc_isa isa)
{
    switch (isa) {
#ifdef FC_HAVE_BASELINE
    case FC_BASELINE:
        return &fc_table_baseline;
#endif
#ifdef FC_HAVE_AVX2
    case FC_AVX2:
        return &fc_table_avx2;
#endif
#ifdef FC_HAVE_AVX512
    case FC_AVX512:
        return &fc_table_avx512;
#endif
    default:
        return NULL;
    }
}

int fc_isa_compiled(fc_isa isa) { return table_of(isa) != NULL; }

int fc_isa_supported(fc_isa isa)
{
    if (isa == FC_BASELINE)
        return table_of(isa) != NULL;
#ifdef FC_X86
    return isa < FC_ISAS && table_of(isa) && x86_supports(isa);
#else
    return 0;
#endif
}

const fc_algorithm *fc_algorithm_at(fc_isa isa, fc_dtype dtype, int i)
{
    const fc_table *t = table_of(isa);
    return t && dtype < FC_DTYPES ? t->algorithms[dtype][i] : NULL;
}

double fc_peak_kernel(fc_isa isa, fc_dtype dtype, int64_t loops)
{
    const fc_table *t = table_of(isa);
    return t && dtype < FC_DTYPES ? t->peak[dtype](loops) : 0;
}

const char *fc_compiler(void)
{
#if defined(__clang__)
    return "Clang " __clang_version__;
#elif defined(__GNUC__)
    return "GCC " __VERSION__;
#else
    return "unknown";
#endif
}

const char *fc_openmp(void)
{
#ifdef _OPENMP
#define FC_TEXT_(x) #x
#define FC_TEXT(x) FC_TEXT_(x)
    return FC_TEXT(_OPENMP);
#else
    return "";
#endif
}

#ifndef FC_FLAGS
#define FC_FLAGS "unknown"
#endif
const char *fc_flags(void) { return FC_FLAGS; }
