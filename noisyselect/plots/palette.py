"""The few colours that every plot of one report shares."""

from __future__ import annotations

# After Okabe and Ito (jfly.uni-koeln.de/color): told apart by the colour-blind and in grey print.
TRUSTED = "#0072B2"  # kept by a selector, or right by the truth
DISTRUSTED = "#D55E00"  # dropped, or wrong
RESCUED = "#009E73"  # kept in spite of a large loss
MUTED = "#737373"
FAINT = "#E6E6E6"
