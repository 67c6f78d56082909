/* functions.h: exp and expm1 of negative numbers, sigmoid and the tail of the normal distribution, on vectors.
 *
 * exp reduces x = k ln 2 + r with |r| <= 0.35, so that exp(x) = 2^k (1 + q), q = expm1(r) by its Taylor polynomial, whose
 * remainder is below a tenth of a unit in the last place. Results are within 2 units, denormals too; NaN stays.
 * Only x <= 0 is asked for: nothing overflows. No table is looked up, so that the same text serves every instruction set.
 *
 * erfcx(z) = exp(z^2) erfc(z) for z >= 0 comes from one polynomial for all z: (1 + 2z) erfcx(z) is smooth in
 * u = (z - 3) / (z + 3) (Shepherd and Laframboise, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc(x) in 0 <= x < inf",
 * Math. Comp. 36, 1981). The coefficients were computed here, with 60 digits, by interpolation in the Chebyshev points; the
 * relative error is below 8e-9 in float and 1e-16 in double. */

#if FC_REAL_BITS == 32
#define FC_MANTISSA 23
#define FC_BIAS 127
#define FC_MAGIC 12582912.0f /* 1.5 * 2^23: adding it rounds to a whole number, in the lowest bits */
#define FC_LN2_HI 0.693359375f
#define FC_LN2_LO -2.12194440e-4f
#define FC_EXP_LEAST -104.0f
#else
#define FC_MANTISSA 52
#define FC_BIAS 1023
#define FC_MAGIC 6755399441055744.0
#define FC_LN2_HI 6.93147180369123816490e-01
#define FC_LN2_LO 1.90821492927058770002e-10
#define FC_EXP_LEAST -746.0
#endif

/* All of these keep NaN. */
FC_INLINE vec FN(at_most)(vec x, real limit) { return FN(select)((ivec)(x > FN(splat)(limit)), FN(splat)(limit), x); }
FC_INLINE vec FN(at_least)(vec x, real limit) { return FN(select)((ivec)(x < FN(splat)(limit)), FN(splat)(limit), x); }
FC_INLINE vec FN(positive)(vec x) { return (vec)((ivec)x & ~(ivec)(x <= FN(zero)())); }
FC_INLINE vec FN(magnitude)(vec x) { return (vec)((ivec)x & ~((ivec)FN(splat)((real)-0.0))); }

/* expm1(r) and k. */
FC_INLINE vec FN(exp_parts)(vec x, ivec *k)
{
    static const real term[] = {
#if FC_REAL_BITS == 64
        1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
#endif
        (real)(1.0 / 5040), (real)(1.0 / 720), (real)(1.0 / 120), (real)(1.0 / 24), (real)(1.0 / 6), (real)0.5};
    vec magic = FN(splat)((real)FC_MAGIC);
    vec t = x * (real)1.44269504088896340736 + magic, n = t - magic;
    *k = (ivec)t - (ivec)magic;
    vec r = x - n * (real)FC_LN2_HI;
    r = r - n * (real)FC_LN2_LO;
    vec q = FN(splat)(term[0]);
    _Pragma("GCC unroll 16") for (int i = 1; i < (int)(sizeof term / sizeof term[0]); i++)
        q = q * r + term[i];
    return q * r * r + r;
}

FC_INLINE vec FN(power_of_two)(ivec k) { return (vec)((k + FC_BIAS) << FC_MANTISSA); }

/* exp(x) for x <= 0. */
FC_INLINE vec FN(exp_negative)(vec x)
{
    ivec k;
    vec q = FN(exp_parts)(FN(at_least)(x, FC_EXP_LEAST), &k);
    ivec half = k >> 1; /* 2^k itself may be out of range where the result is not */
    return (q + (real)1) * FN(power_of_two)(half) * FN(power_of_two)(k - half);
}

/* exp(x) - 1 for x <= 0. */
FC_INLINE vec FN(expm1_negative)(vec x)
{
    ivec k;
    vec q = FN(exp_parts)(FN(at_least)(x, (real)-64), &k), power = FN(power_of_two)(k);
    return power * q + (power - (real)1);
}

/* 1 / (1 + exp(-x)) and 1 minus that, both without cancellation. */
FC_INLINE vec FN(sigmoids)(vec x, vec *other)
{
    vec e = FN(exp_negative)(-FN(magnitude)(x)), large = (real)1 / (e + (real)1), small = e * large;
    ivec negative = (ivec)(x < FN(zero)());
    *other = FN(select)(negative, large, small);
    return FN(select)(negative, small, large);
}

/* log(1 + e) for 0 <= e <= 1: twice the series of atanh(e / (2 + e)). */
FC_INLINE vec FN(log1p_upto_1)(vec e)
{
    vec z = e / (e + (real)2), w = z * z;
    const int terms = FC_REAL_BITS == 32 ? 7 : 16;
    vec sum = FN(splat)((real)(1.0 / (2 * terms + 1)));
    _Pragma("GCC unroll 16") for (int i = terms - 1; i > 0; i--)
        sum = sum * w + (real)(1.0 / (2 * i + 1));
    z += z;
    return z * w * sum + z;
}

/* exp(-x^2 / 2), and the probability that a normal variable exceeds |x|, for |x| <= 64. */
FC_INLINE vec FN(normal_tail)(vec x, vec *bell)
{
    static const real c[] = {
#if FC_REAL_BITS == 32
        0.00008007454974776247796f, -0.00009253769126414560269f, -0.0007340820503933423617f, 0.001875060245867972904f,
        0.002506778671859833089f, -0.02376355970217208657f, 0.06831319671956372603f, -0.1192752813688100848f, 0.1296447209153883843f,
        -0.04756215614635407674f, -0.1356211000583980251f, 1.253008056351449555f
#else
        9.948820947537195795e-10, -3.169592039553521964e-9, -1.3361953304404018e-8, 2.777906159970863293e-8,
        1.019571737579089392e-7, -1.203871392361652528e-7, -6.167709493550963487e-7, 3.364903396529825493e-7,
        3.472520280065518743e-6, -7.186149396303622157e-7, -0.00002010062766440610647, 4.944031214882927625e-6,
        0.0001250993743591582148, -0.0001051582808546725367, -0.0007798322772742547079, 0.001888690090833290585,
        0.002529391816799663033, -0.02377051489066227093, 0.06830802734392144118, -0.119273663416815948,
        0.1296451587027626246, -0.04756229435341897216, -0.1356211061245811929, 1.253008058269729541
#endif
    };
    vec z = FN(magnitude)(x) * (real)0.70710678118654752440, upper = z + (real)3, lower = z * (real)4 + (real)2;
    vec both = (real)1 / (upper * lower), u = (z - (real)3) * lower * both, sum = FN(splat)(c[0]); /* one division for two */
    _Pragma("GCC unroll 24") for (int i = 1; i < (int)(sizeof c / sizeof c[0]); i++)
        sum = sum * u + c[i];
    *bell = FN(exp_negative)(x * x * (real)-0.5);
    return *bell * sum * (upper * both);
}

#undef FC_MANTISSA
#undef FC_BIAS
#undef FC_MAGIC
#undef FC_LN2_HI
#undef FC_LN2_LO
#undef FC_EXP_LEAST
