/* table.h: what an instruction set's translation unit exports. Its only symbol is its table. */
#ifndef FC_TABLE_H
#define FC_TABLE_H

#include "fastconv.h"

typedef struct {
    const char *name;
    const fc_algorithm *const *algorithms[FC_DTYPES]; /* NULL-terminated lists */
    double (*peak[FC_DTYPES])(int64_t loops);
} fc_table;

extern const fc_table fc_table_baseline, fc_table_avx2, fc_table_avx512;

#endif
