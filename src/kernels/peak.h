/* peak.h: the most that this instruction set can multiply and add, for the benchmark's percentages: independent chains in
 * registers, no memory. Returns the flops done. */
#define FC_CHAINS 12

FC_OUTLINE double FN(peak)(int64_t loops)
{
    vec acc[FC_CHAINS];
    vec x = FN(splat)((real)0.999), y = FN(splat)((real)1e-3);
    FC_UNROLL for (int i = 0; i < FC_CHAINS; i++) acc[i] = FN(splat)((real)i);
    for (int64_t n = 0; n < loops; n++) {
        FC_UNROLL for (int i = 0; i < FC_CHAINS; i++) acc[i] = acc[i] * x + y;
        __asm__ volatile("" : "+m"(x)); /* keeps the compiler from working out the whole loop */
    }
    real total = 0;
    FC_UNROLL for (int i = 0; i < FC_CHAINS; i++) total += FN(sum)(acc[i]);
    return 2.0 * VL * FC_CHAINS * (double)loops + (total != total ? 1 : 0);
}
