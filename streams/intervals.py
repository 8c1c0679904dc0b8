"""95 % confidence intervals in closed form. Events are taken for independent: readers who act often make the true intervals wider."""

import math

Z = 1.959963984540054
Interval = tuple[float, float]


def share_interval(hits: int, trials: int) -> Interval | None:
    """Of a share (Wilson 1927). None without trials, or where hits outnumber them, so that no share is meant."""
    if trials <= 0 or hits > trials:
        return None
    share, z2 = hits / trials, Z * Z
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials))
    return (0.0 if hits == 0 else centre - half, 1.0 if hits == trials else centre + half)


def rate_interval(count: int, exposure: int) -> Interval | None:
    """Of a rate that may pass 1, by Byar's approximation to the Poisson interval (Breslow and Day 1987). None without exposure."""
    if exposure <= 0:
        return None
    low = count * (1 - 1 / (9 * count) - Z / (3 * math.sqrt(count))) ** 3 if count else 0.0
    above = count + 1
    high = above * (1 - 1 / (9 * above) + Z / (3 * math.sqrt(above))) ** 3
    return (max(0.0, low) / exposure, high / exposure)


def mean_interval(number: float, total: float, squares: float) -> Interval | None:
    """Of a mean over ``number`` readers with sum ``total`` and sum of squares ``squares``, by the normal approximation; never below 0,
    None for fewer than two."""
    if number < 2:
        return None
    mean = total / number
    spread = max(0.0, squares / number - mean * mean) * number / (number - 1)
    half = Z * math.sqrt(spread / number)
    return (max(0.0, mean - half), mean + half)


def chi_square_bound(freedom: int, z: float = 3.0902) -> float:
    """Quantile of the chi-square distribution (Wilson and Hilferty 1931), by default the .999 one."""
    part = 2 / (9 * freedom)
    return freedom * (1 - part + z * math.sqrt(part)) ** 3
