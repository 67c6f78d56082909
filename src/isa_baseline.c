/* Compiled with the flags that setup.py gives for baseline. */
#define FC_ISA baseline
#define FC_ISA_NAME "baseline"
#include "isa.h"
