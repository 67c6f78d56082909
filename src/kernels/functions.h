/* functions.h: exp and expm1 of negative numbers, sigmoid, powers and the tail of the normal distribution, on vectors.
 *
 * exp reduces x = k ln 2 + r with |r| <= 0.35, so that exp(x) = 2^k (1 + q), q = expm1(r) by its Taylor polynomial, whose
 * remainder is below a tenth of a unit in the last place. Results are within 2 units, denormals too; NaN stays.
 * Only x <= 0 is asked for: nothing overflows. No table is looked up, so that the same text serves every instruction set.
 *
 * erfcx(z) = exp(z^2) erfc(z) for z >= 0 comes from one polynomial for all z where exp(-z^2) is not 0: (z + c) erfcx(z) is smooth in
 * u = (z - c) / (z + c) (after Shepherd and Laframboise, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc(x) in 0 <= x < inf",
 * Math. Comp. 36, 1981). The coefficients were computed here, with 60 digits, by interpolation in the Chebyshev points, with a c that
 * makes the error small; relative to erfcx it is below 4e-8 in float and 1e-16 in double. */

#if FC_REAL_BITS == 32
#define FC_MANTISSA 23
#define FC_BIAS 127
#define FC_MAGIC 12582912.0f /* 1.5 * 2^23: adding it rounds to a whole number, in the lowest bits */
#define FC_LN2_HI 0.693359375f
#define FC_LN2_LO -2.12194440e-4f
#define FC_EXP_LEAST -104.0f
#define FC_TAIL 4.73761543394986
#define FC_NORMAL_LEAST 1.17549435e-38f
#define FC_NORMAL_MOST 3.402823466e+38f
#else
#define FC_MANTISSA 52
#define FC_BIAS 1023
#define FC_MAGIC 6755399441055744.0
#define FC_LN2_HI 6.93147180369123816490e-01
#define FC_LN2_LO 1.90821492927058770002e-10
#define FC_EXP_LEAST -746.0
#define FC_TAIL 4.666904755831213677
#define FC_NORMAL_LEAST 2.2250738585072014e-308
#define FC_NORMAL_MOST 1.7976931348623157e+308
#endif

#define FC_NORMAL_FAR ((real)(FC_REAL_BITS == 32 ? 15 : 39)) /* the normal distribution's tail beyond is 0 */

/* All of these keep NaN. */
FC_INLINE vec FN(at_most)(vec x, real limit) { return FN(lesser)(FN(splat)(limit), x); }
FC_INLINE vec FN(at_least)(vec x, real limit) { return FN(greater)(FN(splat)(limit), x); }
FC_INLINE vec FN(positive)(vec x) { return (vec)((ivec)x & ~(ivec)(x <= FN(zero)())); }
FC_INLINE vec FN(magnitude)(vec x) { return (vec)((ivec)x & ~((ivec)FN(splat)((real)-0.0))); }

/* expm1(r), and k: as a number, and in the lowest bits of `shifted`. */
FC_INLINE vec FN(exp_parts)(vec x, vec *k, vec *shifted)
{
    static const real term[] = {
#if FC_REAL_BITS == 64
        1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
#endif
        (real)(1.0 / 5040), (real)(1.0 / 720), (real)(1.0 / 120), (real)(1.0 / 24), (real)(1.0 / 6), (real)0.5};
    vec magic = FN(splat)((real)FC_MAGIC);
    vec t = x * (real)1.44269504088896340736 + magic, n = t - magic;
    *k = n, *shifted = t;
    vec r = x - n * (real)FC_LN2_HI;
    r = r - n * (real)FC_LN2_LO;
    vec q = FN(splat)(term[0]);
    _Pragma("GCC unroll 16") for (int i = 1; i < (int)(sizeof term / sizeof term[0]); i++)
        q = q * r + term[i];
    return q * r * r + r;
}

FC_INLINE vec FN(power_of_two)(ivec k) { return (vec)((k + FC_BIAS) << FC_MANTISSA); }
FC_INLINE ivec FN(whole)(vec shifted) { return (ivec)shifted - (ivec)FN(splat)((real)FC_MAGIC); }

/* v * 2^k, where 2^k itself may be out of range. */
FC_INLINE vec FN(times_power)(vec v, vec k, vec shifted)
{
#ifdef FC_HAS_SCALE
    (void)shifted;
    return FN(scale)(v, k);
#else
    ivec all = FN(whole)(shifted), half = all >> 1;
    (void)k;
    return v * FN(power_of_two)(half) * FN(power_of_two)(all - half);
#endif
}

/* exp(x) for x <= 0. */
FC_INLINE vec FN(exp_negative)(vec x)
{
    vec k, shifted, q = FN(exp_parts)(FN(at_least)(x, FC_EXP_LEAST), &k, &shifted);
    return FN(times_power)(q + (real)1, k, shifted);
}

/* exp(x) - 1 for x <= 0. */
FC_INLINE vec FN(expm1_negative)(vec x)
{
    vec k, shifted, q = FN(exp_parts)(FN(at_least)(x, (real)-64), &k, &shifted), power = FN(power_of_two)(FN(whole)(shifted));
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

/* The first of them alone. */
FC_INLINE vec FN(one_sigmoid)(vec x)
{
    vec e = FN(exp_negative)(-FN(magnitude)(x));
    return FN(select)((ivec)(x < FN(zero)()), e, FN(splat)(1)) / (e + (real)1);
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

/* log(v) for v >= 1, NaN for NaN and infinity. */
FC_INLINE vec FN(log_upward)(vec v)
{
    const vec magic = FN(splat)((real)FC_MAGIC);
    const ivec bits = (ivec)v;
    vec e = (vec)((bits >> FC_MANTISSA) - FC_BIAS + (ivec)magic) - magic;
    vec m = (vec)((bits & (((lane)1 << FC_MANTISSA) - 1)) | (ivec)FN(splat)(1));
    return e * (real)FC_LN2_HI + (e * (real)FC_LN2_LO + FN(log1p_upto_1)(m - (real)1)) + (v - v);
}

/* v^-p for p given in two parts, the first of which has 12 bits. With v = 2^e m, 1 <= m < 2, it is 2^(-e p) exp(-p log(m)), where the
 * whole part of e p, exact in its first part, becomes the exponent: so large exponents cost no digits. What is no positive normal
 * number is left to pow. */
FC_INLINE vec FN(power)(vec v, const real p[2])
{
    const vec magic = FN(splat)((real)FC_MAGIC), least = FN(splat)((real)FC_NORMAL_LEAST), most = FN(splat)((real)FC_NORMAL_MOST);
    if (FN(any)(~((ivec)(v >= least) & (ivec)(v <= most)))) {
        for (int i = 0; i < VL; i++)
            v[i] = (real)pow((double)v[i], -((double)p[0] + (double)p[1]));
        return v;
    }
    const ivec one = (ivec)FN(splat)(1), bits = (ivec)v;
    vec e = (vec)((bits >> FC_MANTISSA) - FC_BIAS + (ivec)magic) - magic, m = (vec)((bits & (((lane)1 << FC_MANTISSA) - 1)) | one);
    vec all = e * p[0], whole = all + magic - magic;
    vec rest = ((all - whole) + e * p[1]) * (real)0.69314718055994530942 + FN(log1p_upto_1)(m - (real)1) * (p[0] + p[1]);
    vec k, shifted, q = FN(exp_parts)(-rest, &k, &shifted);
    k = FN(lesser)(FN(splat)((real)(2 * FC_BIAS - 2)), FN(greater)(FN(splat)((real)(2 - 2 * FC_BIAS)), k - whole));
    return FN(times_power)(q + (real)1, k, k + magic);
}

/* exp(-x^2 / 2) for 0 <= x <= FC_NORMAL_FAR, as a power of two: |r| <= 1/2 of it goes through a polynomial, by interpolation in the
 * Chebyshev points. Its error grows with that of x^2; with r exact nothing is lost beyond that. */
FC_INLINE vec FN(bell_curve)(vec x)
{
    static const real c[] = {
#if FC_REAL_BITS == 32
        0.000154614446985691290829f, 0.00134004281776158379399f, 0.00961805667852463807539f, 0.0555032722667030205891f,
        0.240226509222887580706f, 0.693147206702832595772f, 1
#else
        4.45581790833606449298e-10, 7.07419429728852100556e-9, 1.01780570877339411046e-7, 0.00000132154325359123761665,
        0.0000152527338415567725893, 0.000154035304637243542086, 0.00133335581464064706971, 0.00961812910758725666806,
        0.0555041086648216270395, 0.240226506959101595672, 0.693147180559945309254, 1
#endif
    };
    const vec magic = FN(splat)((real)FC_MAGIC), square = x * x;
    vec shifted = square * (real)-0.72134752044448170368 + magic, k = shifted - magic;
    vec r = square * (real)-0.72134752044448170368 - k, sum = FN(splat)(c[0]);
    _Pragma("GCC unroll 16") for (int i = 1; i < (int)(sizeof c / sizeof c[0]); i++)
        sum = sum * r + c[i];
    return FN(times_power)(sum, k, shifted);
}

/* The same, and the probability that a normal variable exceeds x. */
FC_INLINE vec FN(normal_tail)(vec x, vec *bell)
{
    static const real c[] = {
#if FC_REAL_BITS == 32
        -0.00127895611137538902f, 0.000336547977934718056f, 0.0111145138612227416f, -0.0497540909086622695f,
        0.136780619479025581f, -0.282685295533682861f, 0.470852871338479163f, -0.652967082144048275f,
        0.766268704930831725f
#else
        8.41501041485072915929e-11, -5.38280853294914598723e-9, -1.70658439944757921911e-8, 3.04076677478615264382e-8,
        1.5299563654547103879e-7, -1.23297250464946561585e-7, -9.94758786512954378066e-7, 7.06638954219838564622e-7,
        0.00000630399284864455772006, -0.00000708699299405505369722, -0.0000398222747413966905015,
        0.0000903355187962115711353, 0.000195941740353670259417, -0.0011140389005418216004,
        0.000805532892214008370383, 0.00879717459596068135657, -0.044830746375458952539, 0.129198422336231507702,
        -0.274050765686301272079, 0.463825477170173524286, -0.649340634331344337969, 0.765406437034144287141
#endif
    };
    vec w = FN(reciprocal)(x + (real)FC_TAIL), u = (real)1 - w * (real)(2 * FC_TAIL), sum = FN(splat)(c[0]);
    _Pragma("GCC unroll 24") for (int i = 1; i < (int)(sizeof c / sizeof c[0]); i++)
        sum = sum * u + c[i];
    *bell = FN(bell_curve)(x);
    return *bell * w * sum;
}

#undef FC_MANTISSA
#undef FC_BIAS
#undef FC_MAGIC
#undef FC_LN2_HI
#undef FC_LN2_LO
#undef FC_EXP_LEAST
#undef FC_TAIL
#undef FC_NORMAL_LEAST
#undef FC_NORMAL_MOST
