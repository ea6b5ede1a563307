"""Fits the numbers of gelu in src/common.cuh: python gen/gelu.py. Needs NumPy and SciPy.

Φ(−u)·exp(u²/2) is approximated for u from 0 to 14, where Φ leaves the range of the 16-bit types, by a polynomial of
degree 5 in t = 1/(1+cu). It is an iteratively reweighted least-squares fit: weights grow where the relative error is
largest, until it is the same at all its peaks. c is the best of a grid."""
import numpy as np
from scipy.special import erfcx

DEGREE = 5
u = np.concatenate([np.linspace(0, 8, 4001), np.linspace(8, 14, 600)])
exact = 0.5 * erfcx(u / np.sqrt(2))


def fit(c, rounds):
    powers = (1 / (1 + c * u[:, None])) ** np.arange(DEGREE + 1) / exact[:, None]
    weights = np.ones_like(u)
    for _ in range(rounds):
        numbers, *_ = np.linalg.lstsq(powers * weights[:, None], weights, rcond=None)
        error = np.abs(powers @ numbers - 1)
        weights *= np.sqrt(error / error.max() + 1e-3)
        weights /= weights.mean()
    return error.max(), numbers


c = min(np.arange(0.15, 0.7, 0.01), key=lambda c: fit(c, 30)[0])
error, numbers = fit(c, 300)
print(f"c {c:.2f}, from t^0 on {', '.join(f'{x:.8g}' for x in numbers)}: relative error {error:.2g}")
