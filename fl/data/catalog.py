"""The catalogue: every data set the project knows, by name.

The table is written here in code; a config can only choose from it.
"""

from __future__ import annotations

from fl.data.beer import DominicksBeer
from fl.data.benchmarks import Adult, HeartDisease
from fl.data.coupon import InvehicleCoupon
from fl.data.panel import Panel, PanelStores
from fl.data.public import BankMarketing, OnlineShoppers
from fl.data.shops import OnlineRetailCustomers
from fl.data.table import Table
from fl.data.trials import Hillstrom, KarlanList

__all__ = ["DATASETS", "Source"]

Source = (
    Panel
    | PanelStores
    | OnlineShoppers
    | BankMarketing
    | InvehicleCoupon
    | HeartDisease
    | Adult
    | Hillstrom
    | KarlanList
    | DominicksBeer
    | OnlineRetailCustomers
    | Table
)

DATASETS: dict[str, type[Source]] = {
    "panel": Panel,
    "panel_stores": PanelStores,
    "online_shoppers": OnlineShoppers,
    "bank_marketing": BankMarketing,
    "invehicle_coupon": InvehicleCoupon,
    "heart_disease": HeartDisease,
    "adult": Adult,
    "hillstrom": Hillstrom,
    "karlan_list": KarlanList,
    "dominicks_beer": DominicksBeer,
    "online_retail_customers": OnlineRetailCustomers,
    "table": Table,
}
