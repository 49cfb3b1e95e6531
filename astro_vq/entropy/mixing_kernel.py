"""The loop that codes the integers of a plane one after the other, compiled by numba.

Each pixel is predicted twice from its causal neighbours and the background around them: by weights
that were fitted to the image (one set for smooth, others for steep surroundings), and by these with
a correction that adapts to the plane (normalised least mean squares). The width comes from a
regression on the logarithms of earlier errors nearby. The integer is then found by binary
decisions: on which side of the prediction, how far in doubling steps, where within the last step.
Three distributions (around either prediction and around their mean corrected by context) and two
tables of learnt corrections each give the log odds of a decision; weights that are learnt while
coding mix them (Mahoney 2005), and a binary range coder takes the result. Decisions far below the
width follow the slope of a Gaussian alone, the last bits nothing.

Everything is integer arithmetic on 64 bits that cannot overflow, so that a plane decodes to the
same integers on every machine. Limits that this needs are kept by `astro_vq.entropy.mixing`.

Units: integers of the plane are steps; predictions, errors and widths are in 1/64 of a step; widths
also as logarithms in 1/32 octave; log odds in 1/256 nat; probabilities in 2**-16, mixing weights in
2**-20, learnt corrections in 2**-16 nat.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from astro_vq.entropy.compiled import compiled
from astro_vq.entropy.kernel_math import at, clip, ln, log2
from astro_vq.entropy.row_kernel import HALF, PAD, WINDOW, close_row, open_row, place_offsets

NODES = 80  # kinds of binary decisions
CLASSES = 6  # of widths, each with its own mixing weights
EXPERTS = 5
WIDTHS = 64  # contexts of the first table of corrections
SURROUNDINGS = 128  # of the second
LARGEST = 1 << 28  # integers are nearer to the middle of the plane
WIDEST = 1000  # logarithm of a width
TOP = 1 << 22  # cumulative probability of everything
_ODDS = 2047
_HALVES_FROM = 64  # logarithm of the width in steps
_STEEPEST = 640  # in 2**-8 sigma: beyond, densities fall no more steeply
_RATE = 1 << 16  # of the adaptive predictor
_FARTHEST = 1 << 30
NO_SPIKE = 1 << 40


@compiled
def _shift_out(decode, low_end, high_end, value, code, used):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Move settled bytes of the range coder out of, or into, the code."""
    while ((low_end ^ high_end) & 0xFF000000) == 0:
        if decode:
            follows = np.int64(code[used]) if used < code.shape[0] else 0
            value = ((value << 8) & 0xFFFFFFFF) | follows
        else:
            code[used] = np.uint8(high_end >> 24)
        used += 1
        low_end = (low_end << 8) & 0xFFFFFFFF
        high_end = ((high_end << 8) & 0xFFFFFFFF) | 255
    return low_end, high_end, value, used


@compiled
def code_plane(  # type: ignore[no-untyped-def]  # noqa: ANN201
    decode: bool,
    plane: npt.NDArray[np.int64],
    mask: npt.NDArray[np.bool_],
    code: npt.NDArray[np.uint8],
    plain: npt.NDArray[np.uint8],
    taps: npt.NDArray[np.int64],
    steep_from: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    width: npt.NDArray[np.int64],
    limit: int,
    sky: int,
    loop: int,
    spike: int,
    halves: bool,
    tables,  # noqa: ANN001
    state,  # noqa: ANN001
):
    """Encode a plane, or decode it in place.

    Parameters
    ----------
    decode : bool
        Which of both.
    plane : ndarray of int64, shape (PAD + H, PAD + W + PAD)
        Integers less the middle of the plane, margins zero; decoding writes them.
    mask : ndarray of bool, shape (H, W)
        Pixels that are not coded; they get their prediction.
    code, plain : ndarray of uint8
        Bytes of the range coder, and low bits that are taken to be uniform; encoding writes them,
        `plain` must be zero.
    taps : ndarray of int64, shape (S, N + 1)
        Sets of weights in 2**-14: of the neighbours, then of the background.
    steep_from : ndarray of int64, shape (S - 1,)
        Logarithms of the differences nearby above which each further set is used, rising.
    places : ndarray of int64, shape (N, 2)
        Rows and columns of the neighbours relative to the pixel.
    width : ndarray of int64, shape (6,)
        Constant and slopes of the regression for the width, in 2**-8.
    limit : int
        How far, in 2**-12 of a step, a pixel is taken to lie from the background of its column.
    sky : int
        Level that brightness counts from, less the middle of the plane.
    loop : int
        Integers per step of the residual; 1 unless the bound is kept in a closed loop.
    spike : int
        Integer that is far more frequent than its neighbours, less the middle of the plane: whether
        a pixel is it is told first. `NO_SPIKE` if there is none.
    halves : bool
        Whether the last two decisions before uniform bits follow the slope of a Gaussian and learn
        nothing; where the width is four steps or more.
    tables, state : tuple of ndarray
        See `astro_vq.entropy.mixing`.

    Returns
    -------
    (int, int, tuple)
        Bytes of the code (read or written; -1 if `code` is too short or ends too early), bits of
        `plain`, and the state at the end.
    """
    normal, heavy, lns, logistic, mantissas, powers, inverses, mix_rates, table_rates = tables[:9]
    normal_over, normal_under, heavy_over, heavy_under = tables[9:]
    mix, first, second = state[0].copy(), state[1].copy(), state[2].copy()
    mix_seen = np.zeros(mix.shape[0], np.int32)
    first_seen = np.zeros(first.shape[0], np.int32)
    second_seen = np.zeros(second.shape[0], np.int32)
    last_mix, last_table = mix_rates.shape[0] - 1, table_rates.shape[0] - 1
    rows, columns, stride = mask.shape[0], mask.shape[1], plane.shape[1]
    errors = np.zeros(plane.shape, np.int64)
    bias, bias_seen = np.zeros(64, np.int64), np.zeros(64, np.int64)
    likely, likely_seen = np.full(128, 32768, np.int64), np.zeros(128, np.int64)
    n_taps = places.shape[0]
    slopes, near = np.zeros(n_taps, np.int64), np.zeros(n_taps, np.int64)
    flat, errs, offsets = plane.reshape(-1), errors.reshape(-1), place_offsets(places, stride)
    background = np.zeros(columns + WINDOW, np.int64)
    log_step, log_least = log2(loop * 64, mantissas), log2(loop * 8, mantissas)
    low_end: Any = 0
    high_end: Any = 0xFFFFFFFF
    value: Any = 0
    used, bits = 0, 0
    if decode:
        for _ in range(4):
            value = (value << 8) | (np.int64(code[used]) if used < code.shape[0] else 0)
            used += 1
    for row in range(rows):
        y = row + PAD
        around = open_row(plane, background, row, columns)
        for k in range(PAD):
            errors[y, k] = errors[y - 1, PAD]
        for column in range(columns):
            if column > 0:
                around += background[column + WINDOW - 1] - background[column - 1]
            if used + (-3 if decode else 1024) > code.shape[0]:  # also stops at damage
                return -1, 0, (mix, first, second)
            x = column + PAD
            here = y * stride + x
            west, north = at(flat, here - 1), at(flat, here - stride)
            northeast, northwest = at(flat, here - stride + 1), at(flat, here - stride - 1)
            steep = abs(west - north) + abs(north - northeast)
            steep += abs(west - northwest) + abs(north - northwest)
            log4 = log2(steep * 16 + 8, mantissas)
            which = 0
            for k in range(steep_from.shape[0]):
                which += 1 if log4 > steep_from[k] else 0
            # two predictions
            fixed = west * 64
            for k in range(n_taps):
                near[k] = at(flat, here + offsets[k])
            if row > 0:
                fixed = 128
                for k in range(n_taps):
                    fixed += taps[which, k] * near[k]
                fixed += (taps[which, n_taps] * (around >> 11)) >> 6
                fixed = clip(fixed >> 8, LARGEST << 6)
            guess = (fixed + 32) >> 6
            correction, energy = 0, 0
            for k in range(n_taps):
                near[k] = clip(near[k] - guess, 1 << 24)
                correction += slopes[k] * near[k]
                energy += near[k] * near[k]
            adaptive = clip(fixed + (correction >> 14), LARGEST << 6)
            # the width, from errors and differences nearby
            one, two, three = here - stride, here - 2 * stride, here - 3 * stride
            ring1 = 4 * (at(errs, here - 1) + at(errs, one))
            ring1 += 3 * (at(errs, one - 1) + at(errs, one + 1))
            ring2 = at(errs, here - 2) + at(errs, two) + at(errs, two - 1)
            ring2 += at(errs, two + 1) + at(errs, one - 2) + at(errs, one + 2)
            ring2 += at(errs, two - 2) + at(errs, two + 2)
            ring3 = at(errs, three) + at(errs, three - 1) + at(errs, three + 1)
            ring3 += at(errs, here - 3) + at(errs, three + 2) + at(errs, three - 2)
            ring3 += at(errs, two + 3) + at(errs, two - 3)
            ring3 += at(errs, one - 3) + at(errs, one + 3)
            log1, log2_ = log2(ring1 // 14 + 8, mantissas), log2((ring2 >> 3) + 8, mantissas)
            log3 = log2(ring3 // 10 + 8, mantissas)
            bright = guess + sky
            log5 = log2(bright * 64 + 64, mantissas) if bright > 0 else 192
            log = width[0] + width[1] * log1 + width[2] * log2_ + width[3] * log3
            log = min(max((log + width[4] * log4 + width[5] * log5) >> 8, log_least), WIDEST)
            sigma = (np.int64(powers[log & 31]) << (log >> 5)) >> 16
            # the mean of both predictions, corrected by what was true in this context
            context = (1 if west > guess else 0) + (2 if north > guess else 0)
            context += (4 if northeast > guess else 0) + (8 if northwest > guess else 0)
            context += 16 if 2 * north - at(flat, two) > guess else 0
            context += 32 if 2 * west - at(flat, here - 2) > guess else 0
            middle = (fixed + adaptive) >> 1
            best = clip(middle + ((bias[context] * sigma) >> 20), LARGEST << 6)
            origin = (best + 32) >> 6
            if mask[row, column]:
                plane[y, x] = clip(origin, LARGEST)
                errors[y, x] = ring1 // 14
                continue
            if spike != NO_SPIKE:
                place = (1 if west == spike else 0) + (2 if north == spike else 0)
                place += (4 if northeast == spike else 0) + (8 if northwest == spike else 0)
                place += (16 if at(flat, here - 2) == spike else 0) + (64 if origin == spike else 0)
                place += 32 if at(flat, two) == spike else 0
                split = low_end + ((high_end - low_end) >> 16) * likely[place]
                yes = value <= split if decode else plane[y, x] == spike
                if yes:
                    high_end = split
                else:
                    low_end = split + 1
                low_end, high_end, value, used = _shift_out(
                    decode, low_end, high_end, value, code, used
                )
                seen = likely_seen[place]
                likely_seen[place] = min(seen + 1, 250)
                likely[place] += ((65504 if yes else 32) - likely[place]) // (seen + 2)
                if yes:
                    plane[y, x] = spike
                    errors[y, x] = abs(spike * 64 - best)
                    continue
            # binary decisions in units of 2**shift steps
            fine = log - log_step
            shift = max((fine >> 5) - 2, 0)
            halvings = 2 if halves and fine >= _HALVES_FROM else 0
            shift += halvings
            unit = 1 << shift
            stride0 = (4 >> halvings) * unit
            width_class = 5
            if shift == 0:
                stride0 = 1 if fine < 16 else (2 if fine < 48 else 4)
                width_class = min(max((fine + 80) >> 5, 0), 4)
            part = min(max((best - origin * 64 + 32) >> 4, 0), 3) if loop == 1 else 2
            surroundings = min(max((log4 - log2_) // 24 + 6, 1), 15) * 8
            surroundings += min(max((log1 - log3) // 24 + 4, 0), 7)
            base1 = (min(max((fine - (shift - halvings) * 32 + 96) >> 4, 0), 15) * 4 + part) * NODES
            base2, base_mix = surroundings * NODES, width_class * NODES
            start = 0 if shift > 0 or part < 2 else 1
            threshold, steps = start, 0
            low: Any = 0
            if not decode:
                steps = plane[y, x] - origin
                if loop > 1:
                    steps = (steps + (loop >> 1)) // loop
                low = (steps - start) & (unit - 1)
                steps -= low
            scale, inverse = 8 + (log >> 5), np.int64(inverses[log & 31])
            zero = origin * 64 - 32 * loop
            below1: Any = 0
            below2: Any = 0
            below3: Any = 0
            above1: Any = TOP
            above2: Any = TOP
            above3: Any = TOP
            bottom, top = -_FARTHEST, _FARTHEST
            node, count, refined = 0, 0, 0
            while True:
                edge = zero + loop * threshold * 64
                z1 = (clip(((edge - fixed) * inverse) >> scale, 2048) + 2048) & 8191
                z2 = (clip(((edge - best) * inverse) >> scale, 2048) + 2048) & 8191
                z3 = (clip(((edge - adaptive) * inverse) >> scale, 2048) + 2048) & 8191
                f1, f2, f3 = np.int64(normal[z1]), np.int64(heavy[z2]), np.int64(normal[z3])
                if top == _FARTHEST:
                    odds1, odds2 = np.int64(normal_over[z1]), np.int64(heavy_over[z2])
                    odds3 = np.int64(normal_over[z3])
                else:
                    odds1, odds2 = ln(above1 - f1 + 1, lns), ln(above2 - f2 + 1, lns)
                    odds3 = ln(above3 - f3 + 1, lns)
                if bottom == -_FARTHEST:
                    odds1 -= np.int64(normal_under[z1])
                    odds2 -= np.int64(heavy_under[z2])
                    odds3 -= np.int64(normal_under[z3])
                else:
                    odds1 -= ln(f1 - below1 + 1, lns)
                    odds2 -= ln(f2 - below2 + 1, lns)
                    odds3 -= ln(f3 - below3 + 1, lns)
                odds1, odds2, odds3 = clip(odds1, _ODDS), clip(odds2, _ODDS), clip(odds3, _ODDS)
                i1, i2 = (base1 + node) & 0xFFFF, (base2 + node) & 0xFFFF
                m = ((base_mix + node) & 0xFFFF) * EXPERTS
                odds4 = clip(((odds2 + odds3) >> 1) + (first[i1] >> 8), _ODDS)
                odds5 = clip(((odds2 + odds3) >> 1) + (second[i2] >> 8), _ODDS)
                odds = mix[m] * odds1 + mix[m + 1] * odds2 + mix[m + 2] * odds3
                odds = (odds + mix[m + 3] * odds4 + mix[m + 4] * odds5 + (1 << 19)) >> 20
                p = np.int64(logistic[(clip(odds, 2900) + 3072) & 8191])
                span = high_end - low_end
                split = low_end + (span >> 16) * p + (((span & 0xFFFF) * p) >> 16)
                yes = value <= split if decode else steps >= threshold
                if yes:
                    high_end = split
                else:
                    low_end = split + 1
                low_end, high_end, value, used = _shift_out(
                    decode, low_end, high_end, value, code, used
                )
                # learn
                truth = 65536 if yes else 0
                seen = mix_seen[m] & 0xFFFF
                gain = (truth - p) * np.int64(mix_rates[seen])
                mix_seen[m] = min(seen + 1, last_mix)
                mix[m] += (gain * odds1 + (1 << 19)) >> 20
                mix[m + 1] += (gain * odds2 + (1 << 19)) >> 20
                mix[m + 2] += (gain * odds3 + (1 << 19)) >> 20
                mix[m + 3] += (gain * odds4 + (1 << 19)) >> 20
                mix[m + 4] += (gain * odds5 + (1 << 19)) >> 20
                seen = first_seen[i1] & 0xFFFF
                first[i1] += (
                    (truth - np.int64(logistic[(odds4 + 3072) & 8191]))
                    * np.int64(table_rates[seen])
                ) >> 16
                first_seen[i1] = min(seen + 1, last_table)
                seen = second_seen[i2] & 0xFFFF
                second[i2] += (
                    (truth - np.int64(logistic[(odds5 + 3072) & 8191]))
                    * np.int64(table_rates[seen])
                ) >> 16
                second_seen[i2] = min(seen + 1, last_table)
                # the next decision
                if yes:
                    bottom, below1, below2, below3 = threshold, f1, f2, f3
                else:
                    top, above1, above2, above3 = threshold, f1, f2, f3
                if top == _FARTHEST or bottom == -_FARTHEST:
                    upwards = top == _FARTHEST
                    node = (1 if upwards else 20) + min(count, 18)
                    reach = stride0 << count
                    threshold = start + reach if upwards else start - reach
                    count += 1
                    if reach >= _FARTHEST:
                        break
                else:
                    span = top - bottom
                    if span <= unit:
                        break
                    side = 1 if bottom >= start else 0
                    if refined == 0:
                        node = 40 + min(count, 5) * 2 + side
                    elif refined < 52:
                        node = 52 + (refined - 40) * 2 + (1 if yes else 0)
                    else:
                        node = 76 + side * 2 + (1 if yes else 0)
                    refined = min(node, 76)
                    threshold = bottom + ((span >> 1) >> shift << shift)
            first_low = low
            if shift > 0:
                plain_bits = shift - halvings
                low = 0
                for k in range(halvings):  # which half, by the slope of a Gaussian alone
                    half = unit >> (k + 1)
                    edge = zero + loop * 64 * (bottom + low + half)
                    z1 = clip(((edge - best) * inverse) >> scale, _STEEPEST)
                    z2 = (loop * half * 64 * inverse) >> scale
                    p = np.int64(logistic[(clip(-((z1 * z2) >> 8), 2900) + 3072) & 8191])
                    span = high_end - low_end
                    split = low_end + (span >> 16) * p + (((span & 0xFFFF) * p) >> 16)
                    yes = value <= split if decode else first_low >= low + half
                    if yes:
                        high_end = split
                        low += half
                    else:
                        low_end = split + 1
                    low_end, high_end, value, used = _shift_out(
                        decode, low_end, high_end, value, code, used
                    )
                if decode:
                    rest: Any = 0
                    for _ in range(plain_bits):
                        byte = np.int64(plain[bits >> 3]) if bits >> 3 < plain.shape[0] else 0
                        rest = (rest << 1) | ((byte >> (7 - (bits & 7))) & 1)
                        bits += 1
                    low += rest
                else:
                    for k in range(plain_bits):
                        if (first_low >> (plain_bits - 1 - k)) & 1:
                            plain[bits >> 3] |= np.uint8(128 >> (bits & 7))
                        bits += 1
            if not decode:
                low = first_low
            found = clip(origin + loop * (bottom + low), LARGEST)
            plane[y, x] = found
            # learn from the pixel
            errors[y, x] = abs(found * 64 - best)
            change = clip(found * 4096 - background[column + HALF], limit) >> 4
            background[column + HALF] += change
            around += change
            missed = clip(found * 64 - middle, 2 * sigma)
            seen = bias_seen[context]
            bias_seen[context] = min(seen + 1, 400)
            bias[context] += ((missed << 20) // (sigma + 1) - bias[context]) // (seen + 40)
            missed = clip(found * 64 - adaptive, 3 * sigma)
            noise = sigma >> 6
            gain = (_RATE * missed) // (energy + noise * noise * n_taps + 4 * n_taps + 1)
            for k in range(n_taps):
                slopes[k] = clip(slopes[k] + ((gain * near[k]) >> 6), 1 << 24)
        close_row(plane, row, columns)
        for k in range(PAD):
            errors[y, PAD + columns + k] = errors[y, PAD + columns - 1]
        if row == 0:
            for k in range(PAD):
                errors[k, :] = errors[PAD, :]
    if not decode:
        code[used] = np.uint8(((low_end >> 24) + 1) & 255)
        used += 1
    return used, bits, (mix, first, second)
