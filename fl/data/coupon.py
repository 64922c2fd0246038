"""In-car coupons: stated intentions of drivers, one kind of merchant per brand."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from fl.data.dataset import CC_BY, UCI, DataSet, Provenance
from fl.data.schema import MISSING, Category, Column, Number, Schema
from fl.data.sources import filed


@dataclass(frozen=True, slots=True)
class InvehicleCoupon:
    """Would a driver accept this coupon? Brand = kind of merchant. Shows negative transfer."""

    name: str = "invehicle_coupon"

    def load(self) -> DataSet:
        """Read the file; an empty cell is a value of its own."""
        title = "In-Vehicle Coupon Recommendation"
        path = filed("invehicle_coupon", "in-vehicle-coupon_12684.csv", title, f"{UCI}, no. 603")
        rows = pd.read_csv(path)
        note = (
            "12,684 answers, 56.8 % positive; 74 repeated rows. Stated intentions, not purchases, "
            "and no person id, so each row counts as one customer. The file renames two of the "
            "publisher's headers (coupon, car) to couponType and cartype. Empty cells are the "
            "value (missing). Brand = couponType: the kinds differ so much that one common model "
            "does worse than five."
        )
        return DataSet(
            self.name,
            rows,
            Schema(_COUPON, "Y"),
            "couponType",
            None,
            Provenance(title, f"{UCI}, no. 603", CC_BY, note),
        )


_VISITS = ("never", "less1", "1~3", "4~8", "gt8", MISSING)
_COUPON: tuple[Column, ...] = (
    Category("destination", ("No Urgent Place", "Home", "Work")),
    Category("passanger", ("Alone", "Friend(s)", "Kid(s)", "Partner")),
    Category("weather", ("Sunny", "Rainy", "Snowy")),
    Number("temperature", 0, 100),  # degrees Fahrenheit
    Category("time", ("7AM", "10AM", "2PM", "6PM", "10PM")),
    Category("expiration", ("2h", "1d")),
    Category("gender", ("Female", "Male")),
    Category("age", ("below21", "21", "26", "31", "36", "41", "46", "50plus")),
    Category(
        "maritalStatus",
        ("Single", "Unmarried partner", "Married partner", "Divorced", "Widowed"),
    ),
    Number("has_children", 0, 1),
    Category(
        "education",
        (
            "Some High School",
            "High School Graduate",
            "Some college - no degree",
            "Associates degree",
            "Bachelors degree",
            "Graduate degree (Masters or Doctorate)",
        ),
    ),
    Category(
        "income",
        (
            "Less than $12500",
            "$12500 - $24999",
            "$25000 - $37499",
            "$37500 - $49999",
            "$50000 - $62499",
            "$62500 - $74999",
            "$75000 - $87499",
            "$87500 - $99999",
            "$100000 or More",
        ),
    ),
    Category(
        "occupation",
        (
            "Architecture & Engineering",
            "Arts Design Entertainment Sports & Media",
            "Building & Grounds Cleaning & Maintenance",
            "Business & Financial",
            "Community & Social Services",
            "Computer & Mathematical",
            "Construction & Extraction",
            "Education&Training&Library",
            "Farming Fishing & Forestry",
            "Food Preparation & Serving Related",
            "Healthcare Practitioners & Technical",
            "Healthcare Support",
            "Installation Maintenance & Repair",
            "Legal",
            "Life Physical Social Science",
            "Management",
            "Office & Administrative Support",
            "Personal Care & Service",
            "Production Occupations",
            "Protective Service",
            "Retired",
            "Sales & Related",
            "Student",
            "Transportation & Material Moving",
            "Unemployed",
        ),
    ),
    Category(
        "cartype",
        (
            "Scooter and motorcycle",
            "crossover",
            "Mazda5",
            "do not drive",
            "Car that is too old to install Onstar :D",
            MISSING,
        ),
    ),
    *(
        Category(place, _VISITS)
        for place in (
            "Bar",
            "CoffeeHouse",
            "CarryAway",
            "RestaurantLessThan20",
            "Restaurant20To50",
        )
    ),
    Number("toCoupon_GEQ15min", 0, 1),
    Number("toCoupon_GEQ25min", 0, 1),
    Number("direction_same", 0, 1),
)
