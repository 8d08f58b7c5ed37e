"""The paper's numbers, to put ours beside.

Mean and standard deviation over 5 seeds. Reference: [Lim2020] arXiv:2006.05164, Tables 1, 3 and 4.
"""

MAXIMUM, NORMALISED = "maximum", "normalised"
MEASURES = {MAXIMUM: "maximum average return", NORMALISED: "normalised average return"}
Number = tuple[float, float]

METHODS = ("SAC", "SAC-NF", "SAC-AR-DAE", "SAC-AR-DAE without clamping")
PUBLISHED: dict[str, dict[str, tuple[Number, ...]]] = {
    MAXIMUM: {
        "HalfCheetah": ((9695, 879), (9325, 775), (10907, 664), (10677, 374)),
        "Ant": ((5345, 553), (4861, 1091), (6190, 128), (6097, 140)),
        "Hopper": ((3563, 119), (3521, 129), (3556, 127), (3634, 45)),
        "Walker2d": ((4612, 249), (4760, 624), (4793, 395), (4843, 521)),
        "Humanoid": ((5965, 179), (5467, 44), (6275, 202), (6268, 77)),
        "ardae_rl/RllabHumanoid": ((6099, 8071), (3442, 3736), (10739, 10335), (761, 413)),
    },
    NORMALISED: {
        "HalfCheetah": ((8089, 567), (7529, 596), (8493, 602), (8636, 307)),
        "Ant": ((3280, 553), (3440, 656), (4335, 241), (4015, 363)),
        "Hopper": ((2442, 426), (2480, 587), (2631, 160), (2734, 194)),
        "Walker2d": ((3023, 271), (3317, 455), (3036, 271), (3094, 209)),
        "Humanoid": ((3471, 505), (3447, 260), (4215, 170), (3808, 137)),
        "ardae_rl/RllabHumanoid": ((664, 321), (814, 630), (2021, 1710), (332, 136)),
    },
}
CAVEAT = (
    "The paper trained for 3 million steps (its released code) on Gym's v2 environments, which Gymnasium no longer has; what changed since "
    "is in docs/environments.md. Where environment version or number of steps differ, the columns do not measure the same thing. Its five "
    "seeds, like ours, are summed up as mean ± one standard deviation of runs."
)


def published(measure: str, env: str, method: str) -> Number | None:
    """The paper's mean and standard deviation, whatever the version of ``env`` ("Hopper-v5"); None if it has none."""
    row = PUBLISHED[measure].get(env.rpartition("-v")[0])
    return row[METHODS.index(method)] if row and method in METHODS else None
