"""Serving: quotas of work, which hold whatever is sent."""

from torpor.serving.client_quotas import ClientQuotas, TokenBucket
from torpor.serving.ledger import QuotaError
from torpor.serving.quota import Quota, metered

__all__ = ["ClientQuotas", "Quota", "QuotaError", "TokenBucket", "metered"]
