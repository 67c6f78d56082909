/* Compiled with the flags that setup.py gives for avx512. */
#define FC_ISA avx512
#define FC_ISA_NAME "avx512"
#include "isa.h"
