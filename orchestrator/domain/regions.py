"""Regions of the vendor's pages."""

from __future__ import annotations

from typing import Final

REGIONS: Final = (
    "ap-beijing", "ap-nanjing", "ap-shanghai", "ap-guangzhou", "ap-chengdu", "ap-chongqing",
    "ap-hongkong", "ap-singapore", "ap-mumbai", "ap-seoul", "ap-bangkok", "ap-tokyo",
    "ap-jakarta", "ap-beijing-1", "na-siliconvalley", "na-ashburn", "na-toronto", "eu-frankfurt",
    "eu-moscow", "sa-saopaulo",
)  # fmt: skip
"""Regions that can be named."""
LEGACY_REGIONS: Final = {
    "cossh": "ap-shanghai",
    "cosgz": "ap-guangzhou",
    "cosbj": "ap-beijing",
    "costj": "ap-beijing-1",
    "coscd": "ap-chengdu",
    "cossgp": "ap-singapore",
    "coshk": "ap-hongkong",
    "cosca": "na-toronto",
    "cosger": "eu-frankfurt",
}
"""Names that the vendor's older clients use, with today's name."""
_FINANCE = "-fsi"


def is_known(region: str) -> bool:
    """Return True for a region of the list, or its part for the financial industry."""
    return region.removesuffix(_FINANCE) in REGIONS
