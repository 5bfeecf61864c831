"""The fixed parts of the simulated fintech's world: cities, kinds of merchants, and the rhythm of a day and a week.

Cities stand where they stand; customers, merchants, amounts and all tokens are invented.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "CATEGORIES",
    "CITIES",
    "DAY_US",
    "HOME_COUNTRY",
    "HOUR_US",
    "RHYTHMS",
    "SECOND_US",
    "WEEK",
    "Category",
    "City",
]

SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US
DAY_US = 24 * HOUR_US
ZONE_OFFSET_US = 5 * HOUR_US + HOUR_US // 2
"""Local time is UTC + 5:30 the whole year; rhythms are local."""

HOME_COUNTRY = "IN"


@dataclass(frozen=True, slots=True)
class City:
    name: str
    country: str
    latitude: float
    longitude: float
    weight: float


CITIES = (
    City("Mumbai", "IN", 19.0760, 72.8777, 12.0),
    City("Delhi", "IN", 28.6139, 77.2090, 12.0),
    City("Bengaluru", "IN", 12.9716, 77.5946, 10.0),
    City("Hyderabad", "IN", 17.3850, 78.4867, 7.0),
    City("Chennai", "IN", 13.0827, 80.2707, 6.5),
    City("Kolkata", "IN", 22.5726, 88.3639, 6.0),
    City("Pune", "IN", 18.5204, 73.8567, 5.5),
    City("Ahmedabad", "IN", 23.0225, 72.5714, 4.5),
    City("Jaipur", "IN", 26.9124, 75.7873, 3.0),
    City("Lucknow", "IN", 26.8467, 80.9462, 2.5),
    City("Kochi", "IN", 9.9312, 76.2673, 2.0),
    City("Indore", "IN", 22.7196, 75.8577, 2.0),
    City("Nagpur", "IN", 21.1458, 79.0882, 1.8),
    City("Chandigarh", "IN", 30.7333, 76.7794, 1.6),
    City("Bhubaneswar", "IN", 20.2961, 85.8245, 1.3),
    City("Guwahati", "IN", 26.1445, 91.7362, 1.2),
    City("Panaji", "IN", 15.4909, 73.8278, 1.0),
    City("Dubai", "AE", 25.2048, 55.2708, 2.0),
    City("Singapore", "SG", 1.3521, 103.8198, 1.8),
    City("London", "GB", 51.5074, -0.1278, 1.6),
    City("Bangkok", "TH", 13.7563, 100.5018, 1.5),
    City("New York", "US", 40.7128, -74.0060, 1.2),
    City("Kathmandu", "NP", 27.7172, 85.3240, 0.9),
    City("Istanbul", "TR", 41.0082, 28.9784, 0.7),
    City("Lagos", "NG", 6.5244, 3.3792, 0.3),
    City("Bucharest", "RO", 44.4268, 26.1025, 0.3),
    City("Phnom Penh", "KH", 11.5564, 104.9282, 0.3),
)
HOME_CITIES = sum(city.country == HOME_COUNTRY for city in CITIES)
"""The first so many cities are at home."""


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of merchant: its share of payments, the median and spread (log-normal) of its amounts in major units."""

    name: str
    share: float
    median: float
    sigma: float
    rhythm: str
    online: bool = False


CATEGORIES = (
    Category("groceries", 0.25, 620, 0.70, "shops"),
    Category("restaurant", 0.17, 460, 0.60, "evening"),
    Category("transport", 0.15, 150, 0.55, "commute"),
    Category("fuel", 0.11, 900, 0.50, "commute"),
    Category("pharmacy", 0.08, 380, 0.70, "shops"),
    Category("clothing", 0.08, 1_500, 0.70, "shops"),
    Category("entertainment", 0.07, 420, 0.60, "evening"),
    Category("electronics", 0.045, 6_500, 0.90, "shops"),
    Category("hotel", 0.03, 4_200, 0.60, "evening"),
    Category("jewellery", 0.015, 14_000, 0.80, "shops"),
    Category("marketplace", 0.34, 1_100, 0.85, "online", online=True),
    Category("utilities", 0.20, 1_300, 0.60, "online", online=True),
    Category("digital_goods", 0.18, 240, 0.70, "online", online=True),
    Category("travel", 0.10, 5_200, 0.80, "online", online=True),
    Category("online_electronics", 0.09, 7_500, 0.90, "online", online=True),
    Category("gift_cards", 0.04, 1_400, 0.60, "online", online=True),
    Category("charity", 0.05, 320, 0.80, "online", online=True),
)
"""Shares add up to one among what is bought in shops, and among what is bought online."""

RHYTHMS: dict[str, npt.NDArray[np.float64]] = {
    "shops": np.array([0, 0, 0, 0, 0, 0, 1, 2, 4, 6, 8, 9, 9, 7, 6, 7, 9, 11, 12, 11, 8, 4, 1, 0], dtype=np.float64),
    "evening": np.array([3, 1, 0, 0, 0, 0, 1, 3, 5, 3, 2, 4, 8, 10, 6, 4, 4, 6, 9, 13, 14, 11, 7, 4], dtype=np.float64),
    "commute": np.array([1, 0, 0, 0, 1, 3, 7, 11, 13, 9, 5, 4, 5, 5, 4, 5, 7, 12, 13, 9, 6, 4, 3, 2], dtype=np.float64),
    "online": np.array([5, 2, 1, 1, 1, 1, 2, 4, 5, 6, 7, 7, 7, 7, 6, 6, 6, 7, 8, 9, 11, 12, 10, 8], dtype=np.float64),
    "night": np.array([9, 10, 10, 9, 6, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4, 5, 7, 8], dtype=np.float64),
}
"""How likely each local hour is."""

WEEK = np.array([0.92, 0.90, 0.94, 0.97, 1.10, 1.22, 1.05])
"""How busy each day is, from Monday."""
