"""The catalogue: every data set the project knows, by name.

The table is written here in code; a config can only choose from it.
"""

from __future__ import annotations

from fl.data.beer import DominicksBeer
from fl.data.benchmarks import Adult, HeartDisease
from fl.data.coupon import InvehicleCoupon
from fl.data.intents import Banking77, SmpIntents
from fl.data.panel import Panel, PanelStores
from fl.data.panel_histories import PanelHistories
from fl.data.public import BankMarketing, OnlineShoppers
from fl.data.retail import OnlineRetail
from fl.data.retail_churn import RetailChurn, RetailHazard
from fl.data.reviews import CarForum, Reviews
from fl.data.sequences import AmazonDomains, MovieLens
from fl.data.shops import OnlineRetailCustomers
from fl.data.table import Table
from fl.data.trials import Hillstrom, KarlanList

__all__ = ["DATASETS", "Source"]

Source = (
    Panel
    | PanelStores
    | PanelHistories
    | OnlineRetail
    | RetailChurn
    | RetailHazard
    | AmazonDomains
    | MovieLens
    | OnlineShoppers
    | BankMarketing
    | InvehicleCoupon
    | HeartDisease
    | Adult
    | Reviews
    | CarForum
    | SmpIntents
    | Banking77
    | Hillstrom
    | KarlanList
    | DominicksBeer
    | OnlineRetailCustomers
    | Table
)

DATASETS: dict[str, type[Source]] = {
    "panel": Panel,
    "panel_stores": PanelStores,
    "panel_histories": PanelHistories,
    "online_retail": OnlineRetail,
    "retail_churn": RetailChurn,
    "retail_hazard": RetailHazard,
    "amazon_domains": AmazonDomains,
    "movielens_100k": MovieLens,
    "online_shoppers": OnlineShoppers,
    "bank_marketing": BankMarketing,
    "invehicle_coupon": InvehicleCoupon,
    "heart_disease": HeartDisease,
    "adult": Adult,
    "reviews": Reviews,
    "car_forum": CarForum,
    "smp_intents": SmpIntents,
    "banking77": Banking77,
    "hillstrom": Hillstrom,
    "karlan_list": KarlanList,
    "dominicks_beer": DominicksBeer,
    "online_retail_customers": OnlineRetailCustomers,
    "table": Table,
}
