/* Compiled with the flags that setup.py gives for avx2. */
#define FC_ISA avx2
#define FC_ISA_NAME "avx2"
#include "isa.h"
