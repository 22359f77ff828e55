"""Make a target of an address."""

from __future__ import annotations

from pathlib import Path

from torpor.targets.endpoint.address import MARK, Address
from torpor.targets.endpoint.client import AnswerLimits, Client
from torpor.targets.endpoint.options import EndpointOptions
from torpor.targets.endpoint.prices import TokenPrices, read_token_prices
from torpor.targets.endpoint.recount import recount_of
from torpor.targets.endpoint.spending import REMOTE_DOLLARS, REMOTE_REQUESTS, Spending
from torpor.targets.endpoint.target import EndpointTarget


def load_endpoint(name: str) -> EndpointTarget:
    """Return the target that ``openai:NAME`` means; nothing is sent yet.

    Args:
        name: ``URL#model=MODEL``, with further options of
            :class:`~torpor.targets.endpoint.options.EndpointOptions` after it.

    Raises:
        UsageError: if it is no address, an option cannot be, or the library that talks HTTP is missing.
        DataError: if its prices cannot be read.

    >>> load_endpoint("http://127.0.0.1:9/v1#model=small&cap=8").cap
    8
    """
    whole = MARK + name
    address = Address.parse(whole, known=EndpointOptions.names())
    options = EndpointOptions.of(whole)
    prices = TokenPrices.tokens() if options.prices is None else read_token_prices(Path(options.prices).expanduser())
    if options.tokenizer is not None:
        recount_of(options.tokenizer)  # what is wrong with it is said before anything is sent
    limits = AnswerLimits(idle_s=min(AnswerLimits.idle_s, options.answer_s), total_s=options.answer_s)
    spending = Spending(prices=prices)
    if address.is_remote:  # whoever uses it says how much more it may be
        spending.requests = REMOTE_REQUESTS
        spending.cost = REMOTE_DOLLARS if prices.currency == "dollars" else None
    return EndpointTarget(Client(address, spending, limits), options)
