"""Presets: the published methods, each a name for a triple."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """A method: a name for a triple (coupling, interpolant, objective).

    Args:
        coupling: spec of the joint law of (x0, x1).
        interpolant: spec of the path between them.
        objective: spec of what is regressed.
        summary: one line for `cfm list`.
        reference: author, year, arXiv id.
        use: when to choose it.
    """

    coupling: str
    interpolant: str
    objective: str
    summary: str
    reference: str
    use: str


_LIPMAN = "Lipman et al. (2023), arXiv 2210.02747"
_TONG = "Tong et al. (2024), arXiv 2302.00482"

METHODS: dict[str, Preset] = {
    "otcfm": Preset(
        "exact",
        "linear",
        "velocity",
        "Optimal-transport flow matching: straight paths between optimally paired points.",
        f"{_TONG}, Prop. 3.4",
        "the default: straight, cheap to integrate, close to dynamic optimal transport",
    ),
    "icfm": Preset(
        "independent",
        "linear",
        "velocity",
        "Independent conditional flow matching: straight paths between random pairs.",
        f"{_TONG}, Prop. 3.3",
        "only the marginals matter, not which point goes where",
    ),
    "sbcfm": Preset(
        "sinkhorn:reg=2",
        "brownian:sigma=1",
        "velocity",
        "Schrodinger-bridge conditional flow matching: Brownian bridges between entropic pairs.",
        f"{_TONG}, Prop. 3.5",
        "the source spreads by diffusion; reg is tied to 2 sigma^2",
    ),
    "fm": Preset(
        "independent",
        "onesided-linear:sigma=0.01",
        "velocity",
        "Flow matching from a standard normal source (one-sided Gaussian path).",
        _LIPMAN,
        "a generator of one cloud: --source gaussian",
    ),
    "vp": Preset(
        "independent",
        "trigonometric:sigma=0.1",
        "velocity",
        "Variance-preserving path between random pairs, with a constant blur.",
        f"{_TONG}, sec. 3; Albergo & Vanden-Eijnden (2022), arXiv 2209.15571",
        "both ends are standardised and intermediate densities should keep unit variance",
    ),
    "interflow": Preset(
        "independent",
        "trigonometric",
        "velocity",
        "InterFlow: trigonometric interpolant between random pairs, no latent noise.",
        "Albergo & Vanden-Eijnden (2022), arXiv 2209.15571, eq. 5",
        "two densities of equal scale, likelihoods along a variance-preserving path",
    ),
}
